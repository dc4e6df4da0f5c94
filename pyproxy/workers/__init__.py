"""Several processes that are one proxy (`workers: N`), and the one that holds them together.

                       ┌─ worker 1: clients, pools, servers
    supervisor ────────┼─ worker 2
    pid, signals, HTTP └─ ...            one Unix socket to each: `messages` over a `channel`
    monitor, budget

- `supervisor.Supervisor` is an App without clients: it reads the configuration, decides about
  failovers, answers HTTP, and lends the places in the budget (`budget`).
- `worker.WorkerApp` is an App without HTTP and monitor. All workers listen on the same ports; the
  kernel spreads the clients (SO_REUSEPORT).
- `crew` starts the processes and replaces those that die; `tally` adds up what they count; `view`
  shows them as one.

With `workers: 1` nothing of this is loaded: one process does everything.
"""
