package lab

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// Event is what a daemon has told as an Event of Kubernetes.
type Event struct {
	// Node is the daemon's.
	Node, Reason, Message string
}

// parseEvent reads a v1.Event as protobuf: four bytes, and a runtime.Unknown with the
// object in field 2.
func parseEvent(body []byte) (e Event, err error) {
	if len(body) < 4 || string(body[:4]) != "k8s\x00" {
		return e, errors.New("not Kubernetes' protobuf")
	}
	unknown, err := protobuf(body[4:])
	if err != nil {
		return e, err
	}
	event, err := protobuf(unknown[2])
	if err != nil {
		return e, err
	}
	source, err := protobuf(event[5])
	return Event{Node: string(source[2]), Reason: string(event[3]), Message: string(event[4])}, err
}

// protobuf returns the fields of a message that are strings, bytes or messages; of
// one that is repeated the last.
func protobuf(b []byte) (map[uint64][]byte, error) {
	fields := map[uint64][]byte{}
	for len(b) > 0 {
		key, n := binary.Uvarint(b)
		if n <= 0 {
			return nil, errors.New("protobuf: a field without number")
		}
		b = b[n:]
		value, n := binary.Uvarint(b)
		switch {
		case n <= 0:
			return nil, errors.New("protobuf: a field without value")
		case key&7 == 0: // a number
			b = b[n:]
		case key&7 == 2 && value <= uint64(len(b)-n):
			fields[key>>3] = b[n:][:value]
			b = b[n:][value:]
		default:
			return nil, fmt.Errorf("protobuf: field %d of type %d", key>>3, key&7)
		}
	}
	return fields, nil
}
