package lan

import (
	"encoding/binary"
	"net"
)

// ethernetHeaderLen is the length in bytes of an Ethernet header without a VLAN tag.
const ethernetHeaderLen = 14

// broadcast is the Ethernet broadcast address.
var broadcast = MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}

// MAC is an Ethernet address.
type MAC [6]byte

// String returns m in hexadecimal with colons, as net.HardwareAddr does.
func (m MAC) String() string { return net.HardwareAddr(m[:]).String() }

// appendEthernet appends an Ethernet header to b and returns the result:
//
//	 0  6  destination
//	 6  6  source
//	12  2  EtherType
func appendEthernet(b []byte, destination, source MAC, etherType uint16) []byte {
	b = append(b, destination[:]...)
	b = append(b, source[:]...)
	return binary.BigEndian.AppendUint16(b, etherType)
}
