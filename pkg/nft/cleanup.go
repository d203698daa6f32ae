package nft

import (
	"errors"
	"fmt"

	"github.com/google/nftables"
	"golang.org/x/sys/unix"
)

// Cleanup removes the tables. That they are absent is success.
func Cleanup() error {
	c, err := dial()
	if err != nil {
		return err
	}
	defer c.close()
	for _, s := range []*spec{datapathSpec, neighborsSpec} {
		c.DelTable(c.AddTable(s.table())) // Deleting a table that is absent is an error.
	}
	if err := c.flush(); err != nil {
		return fmt.Errorf("remove tables %s: %w", tableName, err)
	}
	c.DelTable(c.AddTable(&nftables.Table{Name: tableName, Family: nftables.TableFamilyNetdev}))
	// A kernel without the family has no such table.
	if err := c.flush(); err != nil && !errors.Is(err, unix.EOPNOTSUPP) {
		return fmt.Errorf("remove table netdev %s: %w", tableName, err)
	}
	return nil
}
