package lan

import "fmt"

// InterfaceError is why a port cannot be opened on an interface.
type InterfaceError struct {
	Interface
	Err error
}

func (e *InterfaceError) Error() string {
	if e.IPv6 {
		return fmt.Sprintf("listen on %s for IPv6: %v", e.Name, e.Err)
	}
	return fmt.Sprintf("listen on %s: %v", e.Name, e.Err)
}

func (e *InterfaceError) Unwrap() error { return e.Err }
