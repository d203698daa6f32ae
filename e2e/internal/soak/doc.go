// Package soak judges a long run of faults: what each cost the clients, for how long
// an address had two holders, what was left over, and whether that is good enough.
package soak
