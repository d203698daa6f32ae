// Package neighbor keeps the tables by which this node answers the LAN's questions
// for a VIP: arp kube_vrrp_vip lets a VIP be answered for on its own interface only,
// and netdev kube_vrrp_vip as long as the loop of its Master runs only.
//
// # The gate
//
// In netdev kube_vrrp_vip a rule on lo takes the Master's pulses and refreshes two
// elements for each virtual router: one that ends 0.5 s after the last pulse, and
// one that ends 4 s after it. Between the two the questions for the router's VIPs
// are dropped as they come in. A pulse is a packet: no transaction of another
// program can hold it up, and none of ours is made for it. What pulses do to the
// sets is none of the elements that are read, compared and repaired.
//
// Each interface has a chain of its own, since those of a chain with several
// cannot be changed before Linux 6.4. An older kernel removes it with the interface,
// which no generation of the ruleset shows: so the indexes of the interfaces are
// looked at before each update.
package neighbor
