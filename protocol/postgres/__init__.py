"""PostgreSQL's frontend/backend protocol 3.0, as values.

A room per direction or concern; import the module, not its names, because the tags collide
(`frontend.DESCRIBE` and `backend.DATA_ROW` are both 'D'):

    framing         a byte stream cut into (tag, body)
    startup         the untagged first packets: StartupMessage, SSLRequest, CancelRequest ...
    frontend        messages that clients send (the manual's F), and their tags
    backend         messages that servers send (the manual's B), and their tags;
                    it gathers authentication, notices, results and copying
    conversation    what a server still owes, and when it is at rest
    scram, md5      passwords proven without sending them; saslprep prepares them
    quoting         text made safe inside SQL
    sqlstate        the error codes we send or read
    errors          ProtocolError: the peer broke the rules

Every message is a NamedTuple with the manual's name, `encode()` to the whole message and
`decode(body)` from what follows its length. They compare as tuples: two messages of different
types with equal fields are equal, so look at the type first. Messages without fields are empty
tuples, hence false.
"""
