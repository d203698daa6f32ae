package netnstest

import (
	"slices"
	"strings"
)

// Table returns an nftables table as nft lists it, and its rules as the kernel's
// instructions.
func (ns *NS) Table(family, name string) (listing, instructions string) {
	ns.t.Helper()
	lines := strings.Split(ns.Run("nft", "--debug=netlink", "list", "table", family, name), "\n")
	lines = slices.DeleteFunc(lines, func(line string) bool {
		return !strings.HasPrefix(line, "  [") && !strings.HasPrefix(line, family)
	})
	return ns.Run("nft", "list", "table", family, name), strings.Join(lines, "\n")
}
