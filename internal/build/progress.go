package build

import (
	"strings"

	"github.com/moby/buildkit/client"
)

// forPeople gives the part of an engine's progress that means something to a reader of
// g: the export is named after what it does for forge, and the digests of the manifest
// that the engine makes, which forge throws away, are left out.
func (g *Graph) forPeople(s *client.SolveStatus) *client.SolveStatus {
	out := &client.SolveStatus{Logs: s.Logs, Warnings: s.Warnings}
	for _, v := range s.Vertexes {
		if v.Name == "exporting to oci image format" {
			named := *v
			named.Name = "[" + g.Image.Name + " " + g.Platform + "] encoding layers"
			v = &named
		}
		out.Vertexes = append(out.Vertexes, v)
	}
	for _, u := range s.Statuses {
		if !strings.HasPrefix(u.ID, "exporting ") {
			out.Statuses = append(out.Statuses, u)
		}
	}
	return out
}
