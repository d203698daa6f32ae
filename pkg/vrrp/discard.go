package vrrp

// Discard says why a received packet was not used. The zero value,
// DiscardNone, is a packet that was.
type Discard uint8

// The reasons, named after the counters of RFC 6527 and, where that has none,
// of RFC 2787.
const (
	DiscardNone Discard = iota
	// DiscardPacketLength: a truncated or malformed IPv4 header, a fragment,
	// or a payload whose length is not that of its address count.
	DiscardPacketLength
	// DiscardProtocol: not IP protocol 112.
	DiscardProtocol
	// DiscardWrongDestination: not sent to the VRRP group.
	DiscardWrongDestination
	// DiscardSource: a source no router can have: unspecified, multicast,
	// loopback or broadcast.
	DiscardSource
	// DiscardOwnSource: sent from our own address, by another node that has
	// it too, or by ourselves.
	DiscardOwnSource
	// DiscardIPTTL: the time to live is not 255, so it came through a router.
	DiscardIPTTL
	// DiscardVersion: neither version 2 nor 3, or not the virtual router's.
	DiscardVersion
	// DiscardVRID: no such virtual router is configured.
	DiscardVRID
	// DiscardType: not an ADVERTISEMENT.
	DiscardType
	// DiscardAddressList: no addresses at all.
	DiscardAddressList
	// DiscardChecksum: neither form of the checksum matches.
	DiscardChecksum
	// DiscardAuthentication: a version 2 packet with authentication.
	DiscardAuthentication
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
	DiscardIPTTL:                 "ipTtl",
	DiscardVersion:               "version",
	DiscardVRID:                  "vrId",
	DiscardType:                  "type",
	DiscardAddressList:           "addressList",
	DiscardChecksum:              "checksum",
	DiscardAuthentication:        "authentication",
	DiscardAdvertisementInterval: "advertisementInterval",
	DiscardInitialize:            "initialize",
}

// String returns the reason's word, which metrics and logs show and which
// never changes.
func (d Discard) String() string {
	if d < discards {
		return discardNames[d]
	}
	return "unknown"
}
