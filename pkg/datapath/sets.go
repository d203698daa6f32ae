package datapath

import (
	"golang.org/x/sys/unix"

	"kube-vrrp-vip/pkg/nft"
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

func newDatapathSpec(transports []transport) *nft.Spec {
	return &nft.Spec{
		Family: nft.FamilyINet,
		Name:   nft.TableName,
		Sets:   sets(),
		Chains: chains(transports),
	}
}

func sets() []nft.Set {
	var all []nft.Set
	for _, f := range families {
		address := f.address
		addressPort := nft.Join(f.address, nft.InetProto, nft.InetService)
		all = append(all,
			nft.Set{Name: f.named(setVIP), Key: address},
			nft.Set{Name: f.named(setGuarded), Key: address},
			nft.Set{Name: f.named(mapTarget), Key: addressPort, Value: address},
			nft.Set{Name: f.named(mapZone), Key: f.typeofAddress(f.daddrType), Value: zoneID},
			nft.Set{Name: f.named(mapBack), Key: zoneID, Value: f.typeofAddress(f.saddrType)},
			nft.Set{Name: f.named(mapMappedTarget), Key: addressPort, Value: address},
			nft.Set{Name: f.named(mapMappedPort), Key: addressPort, Value: nft.InetService},
			nft.Set{Name: f.named(mapMappedZone), Key: f.typeofKey(), Value: zoneID},
			nft.Set{Name: f.named(mapMappedBack), Key: zoneID, Value: f.typeofAddress(f.saddrType)},
			nft.Set{Name: f.named(setLimited), Key: addressPort},
			nft.Set{Name: f.named(setSources), Interval: true, Key: nft.Join(f.address, nft.InetProto, nft.InetService, f.address)},
			nft.Set{Name: f.named(setPods), Interval: true, Key: address},
			nft.Set{Name: f.named(setPrivate), Key: nft.Join(f.address, nft.InetService)},
			nft.Set{Name: f.named(setErrors), Key: f.icmpType},
		)
	}
	return append(all,
		nft.Set{Name: mapMappedBackPort, Key: zoneID, Value: sportType},
		nft.Set{Name: setMasquerade, Key: zoneID},
		nft.Set{Name: setProxied, Key: zoneID},
	)
}

// zoneID is a conntrack zone. nft has no name for its type, so all the types
// that are in a set with it are given as expressions too.
var zoneID = nft.HostUint16.As(nft.TypeofCTOriginal(unix.NFT_CT_ZONE))

// typeofAddress is an address as a field of the IP header.
func (f ipFamily) typeofAddress(field uint32) nft.Datatype {
	return f.address.As(nft.TypeofPayload(f.header, field))
}

// typeofKey is ip daddr . meta l4proto . th dport.
func (f ipFamily) typeofKey() nft.Datatype {
	return nft.Join(
		f.typeofAddress(f.daddrType),
		nft.InetProto.As(nft.TypeofMeta(unix.NFT_META_L4PROTO)),
		nft.InetService.As(nft.TypeofPayload(nft.TypeofTransport, 2)),
	)
}

var sportType = nft.InetService.As(nft.TypeofPayload(nft.TypeofTransport, 1))
