package nft

import (
	"errors"

	"golang.org/x/sys/unix"
)

// Cleanup removes the table. That it is absent is success.
func Cleanup() error { return remove(datapathSpec) }

// CleanupNeighbors removes the tables. That they are absent is success.
func CleanupNeighbors() error {
	err := remove(neighborsSpec)
	// A kernel without the family has no such table.
	if gateErr := remove(newGateSpec(nil)); !errors.Is(gateErr, unix.EOPNOTSUPP) {
		err = errors.Join(err, gateErr)
	}
	return err
}
