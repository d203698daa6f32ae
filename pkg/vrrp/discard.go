package vrrp

// Discard is the reason why a received packet was discarded. The zero value,
// DiscardNone, means that it was accepted.
type Discard uint8

// The reasons, named after the counters of RFC 6527 or else of RFC 2787, in the order
// of the checks.
const (
	DiscardNone Discard = iota
	// DiscardPacketLength: a truncated or malformed IP header, a fragment, or
	// a payload whose length is not that of its address count.
	DiscardPacketLength
	// DiscardProtocol: not IP protocol 112, or with an extension header.
	DiscardProtocol
	// DiscardWrongDestination: not sent to the VRRP group or, with unicast, to
	// our own address.
	DiscardWrongDestination
	// DiscardSource: a source that no router can have: unspecified, multicast,
	// loopback, broadcast or, over IPv6 with multicast, not link-local.
	DiscardSource
	// DiscardOwnSource: sent from our own address, by another node that has the
	// same address or by ourselves.
	DiscardOwnSource
	// DiscardUnknownPeer: with unicast, the source is not one of our peers.
	DiscardUnknownPeer
	// DiscardIPTTL: the time to live, or hop limit, is not 255, so it came
	// through a router.
	DiscardIPTTL
	// DiscardVersion: neither version 2 nor 3, version 2 over IPv6, or another
	// version than the virtual router's.
	DiscardVersion
	// DiscardVRID: no such virtual router is configured.
	DiscardVRID
	// DiscardType: not an ADVERTISEMENT.
	DiscardType
	// DiscardAddressList: no addresses at all.
	DiscardAddressList
	// DiscardChecksum: no form of the checksum matches.
	DiscardChecksum
	// DiscardInvalidAuthType: version 2 with an unknown authentication type.
	DiscardInvalidAuthType
	// DiscardAuthTypeMismatch: version 2 with another authentication type than
	// the virtual router's.
	DiscardAuthTypeMismatch
	// DiscardAuthFailure: version 2 with another password than the virtual
	// router's.
	DiscardAuthFailure
	// DiscardAdvertisementInterval: an interval of 0, or, with version 2,
	// another one than the virtual router's.
	DiscardAdvertisementInterval
	// DiscardInitialize: the virtual router is in Initialize.
	DiscardInitialize

	discards // how many there are
)

var discardNames = [discards]string{
	DiscardNone:                  "none",
	DiscardPacketLength:          "packetLength",
	DiscardProtocol:              "protocol",
	DiscardWrongDestination:      "wrongDestination",
	DiscardSource:                "source",
	DiscardOwnSource:             "ownSource",
	DiscardUnknownPeer:           "unknownPeer",
	DiscardIPTTL:                 "ipTtl",
	DiscardVersion:               "version",
	DiscardVRID:                  "vrId",
	DiscardType:                  "type",
	DiscardAddressList:           "addressList",
	DiscardChecksum:              "checksum",
	DiscardInvalidAuthType:       "invalidAuthType",
	DiscardAuthTypeMismatch:      "authTypeMismatch",
	DiscardAuthFailure:           "authFailure",
	DiscardAdvertisementInterval: "advertisementInterval",
	DiscardInitialize:            "initialize",
}

// String returns the reason's name, as in metrics and logs. It never changes.
func (d Discard) String() string {
	if d < discards {
		return discardNames[d]
	}
	return "unknown"
}
