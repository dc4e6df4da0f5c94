"""PyProxy: an Amazon RDS Proxy in pure Python.

The rooms, from the street inwards (docs/explanation/walk-of-a-query.md walks through them):

    cli         the command line: which command there is, and where it lives
    app         the composition root: build, start, reload, drain, stop
    config      the YAML file, checked
    upkeep      the clock: waits that are over, servers and clients too long idle
    listener    accepts clients; stream: their transport, flow control, TLS
    postgres    PostgreSQL sessions: login, relay, our connections to databases
    pinning     which statement pins a session, why, and how to avoid it
    auth        passwords, IAM tokens, secrets
    pooling     who may borrow which connection, and when
    targets     the databases behind us, their health, failover
    metrics     every counter, under CloudWatch's names
    dashboard   HTTP: metrics, health, JSON, the live page
    assessment  does RDS Proxy fit an application: the audit, what-if
    lab         an embedded PostgreSQL pair, the demo, storms, exercises
    workers     several processes as one proxy: the supervisor and its workers
    pytest_plugin   a test-suite behind a proxy, failing when its code begins to pin

How databases speak is beside this package, in `protocol`, which knows nothing of proxies.
"""

__version__ = "0.1.0"
