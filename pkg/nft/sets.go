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
		address := datatype{SetDatatype: f.address}
		addressPort := joined(f.address, nftables.TypeInetProto, nftables.TypeInetService)
		all = append(all,
			set{name: f.named(setVIP), key: address},
			set{name: f.named(setGuarded), key: address},
			set{name: f.named(mapTarget), key: addressPort, value: address},
			set{name: f.named(mapZone), key: f.typeofAddress(f.daddrType), value: zoneID},
			set{name: f.named(mapBack), key: zoneID, value: f.typeofAddress(f.saddrType)},
			set{name: f.named(mapMappedTarget), key: addressPort, value: address},
			set{name: f.named(mapMappedPort), key: addressPort, value: datatype{SetDatatype: nftables.TypeInetService}},
			set{name: f.named(mapMappedZone), key: f.typeofKey(), value: zoneID},
			set{name: f.named(mapMappedBack), key: zoneID, value: f.typeofAddress(f.saddrType)},
			set{name: f.named(setLimited), key: addressPort},
			set{name: f.named(setSources), interval: true, key: joined(f.address, nftables.TypeInetProto, nftables.TypeInetService, f.address)},
			set{name: f.named(setPods), interval: true, key: address},
			set{name: f.named(setPrivate), key: joined(f.address, nftables.TypeInetService)},
			set{name: f.named(setErrors), key: datatype{SetDatatype: f.icmpType}},
		)
	}
	return append(all,
		set{name: mapMappedBackPort, key: zoneID, value: datatype{SetDatatype: nftables.TypeInetService, typeof: typeofSport}},
		set{name: setMasquerade, key: zoneID},
		set{name: setProxied, key: zoneID},
	)
}

// joined is a type of several fields.
func joined(types ...nftables.SetDatatype) datatype {
	d := datatype{SetDatatype: nftables.MustConcatSetType(types...)}
	for _, t := range types {
		d.fields = append(d.fields, t.Bytes)
	}
	return d
}

// zoneID is a conntrack zone. nft has no name for its type, so all the types
// that are in a set with it are given as expressions too.
var zoneID = datatype{SetDatatype: uint16Type(), host: true, typeof: typeof(typeofCT, unix.NFT_CT_ZONE, directionOriginal)}

func uint16Type() nftables.SetDatatype {
	t := nftables.TypeInteger
	t.Bytes = 2
	return t
}

// typeofAddress is an address as a field of the IP header.
func (f ipFamily) typeofAddress(which uint32) datatype {
	return datatype{SetDatatype: f.address, typeof: typeof(typeofPayload, f.header, which)}
}

// typeofKey is ip daddr . meta l4proto . th dport.
func (f ipFamily) typeofKey() datatype {
	d := joined(f.address, nftables.TypeInetProto, nftables.TypeInetService)
	d.typeof = typeofJoined(
		typeof(typeofPayload, f.header, f.daddrType),
		typeof(typeofMeta, unix.NFT_META_L4PROTO),
		typeof(typeofPayload, typeofTransport, typeofDport),
	)
	return d
}

var typeofSport = typeof(typeofPayload, typeofTransport, 1)

// nft's numbers for expressions (enum expr_types), which it stores with a set.
const (
	typeofPayload = 7
	typeofMeta    = 9
	typeofCT      = 12
	typeofConcat  = 13

	// Of typeofPayload: the headers, and fields in them.
	typeofTransport = 11
	typeofIP        = 12
	typeofIP6       = 13
	typeofDport     = 2
)
