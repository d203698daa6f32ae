package nft

import (
	"github.com/google/nftables"
	"golang.org/x/sys/unix"
)

// The sets and maps of the datapath. Those above the empty line are one for
// each family, 4 and 6, by ipFamily.named.
const (
	setVIP          = "vip"         // Every VIP that belongs to Services.
	setGuarded      = "guarded"     // Those whose other ports are refused.
	mapTarget       = "svc"         // VIP, protocol, port: where it leads, to the same port.
	mapZone         = "zone"        // VIP: the zone of these.
	mapBack         = "back"        // Zone: VIP. Of ports that keep their number.
	mapMappedTarget = "mapped_svc"  // VIP, protocol, port: where it leads. Every port that is not in svc.
	mapMappedPort   = "mapped_port" // The same: the port there.
	mapMappedZone   = "mapped_zone" // The same: the zone.
	mapMappedBack   = "mapped_back" // Zone: VIP. Of ports that change their number.
	setLimited      = "limited"     // VIP, protocol, port: those for certain sources.
	setSources      = "sources"     // VIP, protocol, port, source.
	setPods         = "pods"        // The networks of the node's own pods.
	setPrivate      = "private"     // Address, TCP port: the daemon's own listeners.
	setErrors       = "icmp_error"  // ICMP types that quote a packet.

	mapMappedBackPort = "mapped_back_port" // Zone: the VIP's port. Of those in mapped_back.
	setMasquerade     = "masquerade_zones" // Zones in which the client's address is not kept.
	setProxied        = "proxied_zones"    // Zones of the ports that the daemon serves itself.
)

var families = []ipFamily{ipv4, ipv6}

var (
	datapathSpec = newDatapathSpec(transports)
	// olderSpec is for kernels that cannot write the port of an SCTP packet.
	olderSpec = newDatapathSpec(olderTransports)
)

func newDatapathSpec(transports []transport) *spec {
	return &spec{
		family: nftables.TableFamilyINet,
		name:   tableName,
		sets:   sets(),
		chains: chains(transports),
	}
}

func sets() []set {
	var all []set
	for _, f := range families {
		address := f.address
		addressPort := join(f.address, inetProto, inetService)
		all = append(all,
			set{name: f.named(setVIP), key: address},
			set{name: f.named(setGuarded), key: address},
			set{name: f.named(mapTarget), key: addressPort, value: address},
			set{name: f.named(mapZone), key: f.typeofAddress(f.daddrType), value: zoneID},
			set{name: f.named(mapBack), key: zoneID, value: f.typeofAddress(f.saddrType)},
			set{name: f.named(mapMappedTarget), key: addressPort, value: address},
			set{name: f.named(mapMappedPort), key: addressPort, value: inetService},
			set{name: f.named(mapMappedZone), key: f.typeofKey(), value: zoneID},
			set{name: f.named(mapMappedBack), key: zoneID, value: f.typeofAddress(f.saddrType)},
			set{name: f.named(setLimited), key: addressPort},
			set{name: f.named(setSources), interval: true, key: join(f.address, inetProto, inetService, f.address)},
			set{name: f.named(setPods), interval: true, key: address},
			set{name: f.named(setPrivate), key: join(f.address, inetService)},
			set{name: f.named(setErrors), key: f.icmpType},
		)
	}
	return append(all,
		set{name: mapMappedBackPort, key: zoneID, value: sportType},
		set{name: setMasquerade, key: zoneID},
		set{name: setProxied, key: zoneID},
	)
}

// zoneID is a conntrack zone. nft has no name for its type, so all the types
// that are in a set with it are given as expressions too.
var zoneID = hostUint16.as(typeofCTOriginal(unix.NFT_CT_ZONE))

// typeofAddress is an address as a field of the IP header.
func (f ipFamily) typeofAddress(field uint32) datatype {
	return f.address.as(typeofPayload(f.header, field))
}

// typeofKey is ip daddr . meta l4proto . th dport.
func (f ipFamily) typeofKey() datatype {
	return join(
		f.typeofAddress(f.daddrType),
		inetProto.as(typeofMeta(unix.NFT_META_L4PROTO)),
		inetService.as(typeofPayload(typeofTransport, 2)),
	)
}

var sportType = inetService.as(typeofPayload(typeofTransport, 1))
