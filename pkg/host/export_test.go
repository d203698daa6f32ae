package host

// Permanent reports whether a has no lifetime.
func (a Address) Permanent() bool { return a.permanent }

// Scope returns the scope of a as rtnetlink numbers it.
func (a Address) Scope() uint8 { return a.scope }
