"""Who gets which server: the decisions of the pools.

- `pool.Pool` is one pool: who is idle, lent, waiting. It decides and never waits.
- `pools.Pools` is all of them: the budget of the target that they share, who makes room for whom,
  and the care of idle and old servers. It opens and closes servers through two callables.

Both are synchronous and take the time as a value, so their tests need no loop and no clock.
"""
