package vrrp

// Counters are the statistics of one virtual router, named after RFC 6527.
type Counters struct {
	MasterTransitions      uint64 `json:"masterTransitions"`
	AdvertisementsReceived uint64 `json:"advertisementsReceived"`
	AdvertisementsSent     uint64 `json:"advertisementsSent"`
	PriorityZeroReceived   uint64 `json:"priorityZeroReceived"`
	PriorityZeroSent       uint64 `json:"priorityZeroSent"`
	// Checksums counts the advertisements received by ChecksumForm.
	Checksums map[string]uint64 `json:"checksums,omitempty"`
	// Discarded counts the packets of this virtual router that were not
	// used, and Warnings those that were used but looked wrong, by reason.
	Discarded map[string]uint64 `json:"discarded,omitempty"`
	Warnings  map[string]uint64 `json:"warnings,omitempty"`
}
