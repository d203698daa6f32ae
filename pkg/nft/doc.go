// Package nft keeps an nftables table of ours: its chains, sets and rules are data
// (Spec), its elements a value (Elements), and a Table makes the kernel have both.
// What the tables are for is the business of the packages that specify them.
//
// # A table in the kernel
//
// A table is never deleted and rebuilt, and it outlives the process. Chains, rules
// and the definitions of sets are static; all that depends on the configuration is
// elements of the sets and maps. Every update of those is one netlink transaction
// with the difference between the elements that the kernel has and those that it
// is to have, so no packet ever meets half an update.
//
// The static part is a transaction of its own, which goes first, and only if the
// table is not as specified: at the first start, after an update of the program, or
// when another program changed it. Between the two, rules whose sets are empty do
// nothing, as if there were no table yet, and rules whose sets were there go on
// with their elements. Only a set whose definition changes is empty for that
// moment.
//
// # Changes by other programs
//
// The kernel counts the generations of its ruleset: as long as the counter stands
// where our last transaction left it, no program has changed any table, and
// otherwise ours is read again. The static transaction is made for one generation,
// and the kernel refuses it if another program came first. A change of elements is
// not, so the counter is looked at afterwards: if another program came between, the
// table is read and repaired. Adoption after a restart, an ordinary update and the
// repair of others' changes are thereby the same code.
//
// # Why an encoder of our own
//
// github.com/google/nftables reads the table, its chains, sets and elements,
// writes all elements, and removes the tables. It cannot express the static
// part: it knows no direction of a ct expression, forgets the pseudo-header of
// a write that no header checksum covers, as in IPv6, and stores no expression
// with a set, without which nft lists conntrack zones with their bytes swapped. As
// it takes no foreign messages into its transactions, the table, the chains and the
// sets are encoded together with the rules: they must change at once, and Check
// lets the kernel check all of it and forget it, which the library cannot ask for.
// The encoder uses the library's socket.
//
// nft itself cannot say that a write into a quoted header mends a checksum: the
// tables must not be restored from an nft listing.
package nft
