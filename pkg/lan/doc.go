// Package lan is this node's side of the LANs it is on: it receives and sends
// VRRP packets and announces addresses by gratuitous ARP. It moves bytes and
// never reads a VRRP message.
package lan
