# The heads of data streams over QUIC. Written for qanat from the ids and ordinals of the protocol notes; the ids are the contract.
@0xb29021ef7421cc32;

# What the edge asks of a connector, first on every data stream.
struct ConnectRequest @0xc47116a1045e4061 {
  # An absolute URL, or `ip:port` when type is tcp.
  dest @0 :Text;
  type @1 :ConnectionType;
  # In order; a key may come more than once.
  metadata @2 :List(Metadata);
}

enum ConnectionType @0xc52e1bac26d379c8 {
  http @0;
  websocket @1;
  tcp @2;
}

# Values are bytes of a header field, so not always UTF-8.
struct Metadata @0xe1446b97bfd1cd37 {
  key @0 :Text;
  val @1 :Text;
}

# The connector's answer. A text in `error`: the origin could not be reached.
struct ConnectResponse @0xb1032ec91cef8727 {
  error @0 :Text;
  metadata @1 :List(Metadata);
}
