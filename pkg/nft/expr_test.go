package nft

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"kube-vrrp-vip/pkg/internal/nfnetlink"
)

// attributes shows encoded attributes as TYPE=HEX, and nested ones as
// TYPE{...}.
func attributes(b []byte) string {
	var all []string
	attrs, err := netlink.UnmarshalAttributes(b)
	if err != nil {
		return err.Error()
	}
	for _, a := range attrs {
		if a.Type&netlink.Nested != 0 {
			all = append(all, fmt.Sprintf("%d{%s}", a.Type&^netlink.Nested, attributes(a.Data)))
		} else {
			all = append(all, fmt.Sprintf("%d=%s", a.Type, hex.EncodeToString(a.Data)))
		}
	}
	return strings.Join(all, " ")
}

// host is a number as the host stores it, in hex.
func host(v uint32) string { return hex.EncodeToString(binary.NativeEndian.AppendUint32(nil, v)) }

// TestExpr compares with the attributes of linux/netfilter/nf_tables.h.
func TestExpr(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name string
		expr Expr
		kind string
		want string
	}{
		{"load", Load(NetworkHeader(16, 4), Reg0), "payload", "1=00000008 2=00000001 3=00000010 4=00000004"},
		{"load after the network header", Load(TransportHeader(28, 2), Reg0+2), "payload", "1=0000000a 2=00000002 3=0000001c 4=00000002"},
		{"write into TCP's pseudo-header", Write(NetworkHeader(12, 4), Reg0+4, Checksum{Kind: unix.NFT_PAYLOAD_CSUM_INET, Offset: 10, Pseudo: true}), "payload", "5=0000000c 2=00000001 3=0000000c 4=00000004 6=00000001 7=0000000a 8=00000001"},
		{"write into a quoted header", Write(TransportHeader(24, 4), Reg0, Checksum{Kind: unix.NFT_PAYLOAD_CSUM_INET, Offset: 18}), "payload", "5=00000008 2=00000002 3=00000018 4=00000004 6=00000001 7=00000012"},
		{"meta", Meta(unix.NFT_META_L4PROTO, Reg0+1), "meta", "2=00000010 1=00000009"},
		{"ct", CT(unix.NFT_CT_STATE, Reg0), "ct", "2=00000000 1=00000008"},
		{"ct original zone", CTOriginal(unix.NFT_CT_ZONE, Reg0), "ct", "2=00000011 3=00 1=00000008"},
		{"ct original zone set", SetCTOriginal(unix.NFT_CT_ZONE, Reg0+4), "ct", "2=00000011 3=00 4=0000000c"},
		{"equal", Equal(6), "cmp", "1=00000008 2=00000000 3{1=06}"},
		{"bitwise", AnyOf(0x49)[0], "bitwise", "1=00000008 2=00000008 3=00000004 4{1=" + host(0x49) + "} 5{1=00000000}"},
		{"not equal", AnyOf(0x49)[1], "cmp", "1=00000008 2=00000001 3{1=00000000}"},
		{"in a set", In("vip4"), "lookup", "1=7669703400 2=00000008"},
		{"not in a set", NotIn("vip4"), "lookup", "1=7669703400 2=00000008 5=00000001"},
		{"map", Map("svc4", Reg0+4), "lookup", "1=7376633400 2=00000008 3=0000000c"},
		{"mark set", SetMeta(unix.NFT_META_MARK, Reg0), "meta", "2=00000003 3=00000008"},
		{"immediate", Immediate([]byte{0, 1}, Reg0), "immediate", "1=00000008 2{1=0001}"},
		{"update", Update("alive"), "dynset", "1=616c69766500 3=00000001 4=00000008"},
		{"counter", Counter(), "counter", ""},
		{"reset", Reject(unix.NFT_REJECT_TCP_RST, 0), "reject", "1=00000001"},
		{"ICMP error", Reject(unix.NFT_REJECT_ICMP_UNREACH, 3), "reject", "1=00000000 2=03"},
		{"DNAT", DNAT(unix.NFPROTO_IPV4, Reg0), "nat", "1=00000001 2=00000002 3=00000008"},
		{"IPv6 DNAT", DNAT(unix.NFPROTO_IPV6, Reg0), "nat", "1=00000001 2=0000000a 3=00000008"},
		{"load an IPv6 address", Load(NetworkHeader(24, 16), Reg0), "payload", "1=00000008 2=00000001 3=00000018 4=00000010"},
		{"write into a pseudo-header alone", Write(NetworkHeader(8, 16), Reg0+8, Checksum{Pseudo: true}), "payload", "5=00000010 2=00000001 3=00000008 4=00000010 6=00000000 7=00000000 8=00000001"},
		{"write a port of UDP without checksum", Write(TransportHeader(2, 2), Reg0, Checksum{}), "payload", "5=00000008 2=00000002 3=00000002 4=00000002 6=00000000 7=00000000"},
		{"write a port of SCTP", Write(TransportHeader(0, 2), Reg0, Checksum{Kind: 2, Offset: 8}), "payload", "5=00000008 2=00000002 3=00000000 4=00000002 6=00000002 7=00000008"},
		{"masquerade", Masquerade(), "masq", "1=00000010"},
		{"accept", Accept(), "immediate", "1=00000000 2{2{1=00000001}}"},
		{"drop", Drop(), "immediate", "1=00000000 2{2{1=00000000}}"},
		{"jump", Jump("rw"), "immediate", "1=00000000 2{2{1=fffffffd 2=727700}}"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			want := fmt.Sprintf("1=%s00 2{%s}", hex.EncodeToString([]byte(test.kind)), test.want)
			if diff := cmp.Diff(want, attributes(nfnetlink.Encode(test.expr.encode))); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}
