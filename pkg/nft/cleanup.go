package nft

import "fmt"

// Cleanup removes both tables. That they are absent is success.
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
	return nil
}
