"""HTTP/2 (RFC 9113) and gRPC over it, for `serving.server.h2_front`.

The frames are our own, on hpack's tables: the `h2` package needs 175 µs of CPU for the frames of
one empty call, and a whole call has 60. A connection lives on the event loop's thread only; what
runs elsewhere comes back through `dispatch`.
"""
