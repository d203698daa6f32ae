package nft

import (
	"errors"
	"fmt"
)

// Cleanup removes both tables. That they are absent is success.
func Cleanup() error {
	c, err := dial()
	if err != nil {
		return err
	}
	defer c.Close()
	var messages []message
	for _, s := range []*spec{datapathSpec, neighborsSpec} {
		b := &batch{spec: s}
		b.newTable() // Deleting a table that is absent is an error.
		b.deleteTable()
		messages = append(messages, b.messages...)
	}
	for range attempts {
		var generation uint32
		if generation, err = c.generation(); err != nil {
			break
		}
		if err = c.commit(generation, messages); !errors.Is(err, errGeneration) {
			break
		}
	}
	if err != nil {
		return fmt.Errorf("remove tables %s: %w", tableName, err)
	}
	return nil
}
