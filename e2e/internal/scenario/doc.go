// Package scenario takes a kube-vrrp-vip on a test cluster through what happens to
// it in operation, and measures what that costs those who use a VIP. The tests and
// the demonstration share it.
package scenario
