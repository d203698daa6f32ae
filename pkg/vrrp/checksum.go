package vrrp

// ChecksumForm is what the checksum of a packet was computed over.
type ChecksumForm uint8

// The forms. Version 2 and RFC 9568 for IPv4 take the message alone; keepalived
// and FRR take the pseudo-header in as RFC 5798 was read by most.
const (
	ChecksumNone ChecksumForm = iota
	ChecksumMessage
	ChecksumPseudoHeader

	checksumForms // how many there are
)

// String returns the form's word, for metrics and logs.
func (f ChecksumForm) String() string {
	switch f {
	case ChecksumNone:
		return "none"
	case ChecksumMessage:
		return "message"
	case ChecksumPseudoHeader:
		return "pseudoHeader"
	default:
		return "unknown"
	}
}
