package solve

import "slices"

// Hold leaves only the given versions of a package to choose from, where the universe
// has any of them; else it changes nothing.
func (u *Universe) Hold(name string, versions []string) {
	other := func(e *entry) bool { return e.name == name && !slices.Contains(versions, e.version) }
	kept := slices.DeleteFunc(slices.Clone(u.names[name]), other)
	if len(kept) == 0 {
		return
	}
	u.names[name] = kept
	for virtual, providers := range u.provides {
		u.provides[virtual] = slices.DeleteFunc(providers, func(p provider) bool { return other(p.owner) })
	}
}
