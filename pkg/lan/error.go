package lan

import "fmt"

// InterfaceError is a failure that concerns one interface. Listen joins one
// for every interface that cannot be listened on.
type InterfaceError struct {
	Interface
	Err error
}

func (e *InterfaceError) Error() string { return fmt.Sprintf("listen on %s: %v", e.Name, e.Err) }

func (e *InterfaceError) Unwrap() error { return e.Err }
