package build

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strings"

	digest "github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"forge/internal/diag"
)

// Load hands one platform of the result to a container engine through its own command:
// program is "docker" or "podman", tag the name it gets there. The stream is an OCI
// layout with a manifest.json beside it, which every docker and podman reads. A program
// that is missing or fails is diag.BuildFailed with what it wrote.
func (r *Result) Load(ctx context.Context, program, platform, tag string) error {
	files, err := r.archive(platform, tag)
	if err != nil {
		return err
	}
	binary, err := exec.LookPath(program)
	if err != nil {
		return diag.Errorf(diag.BuildFailed, "Install "+program+", or write a file with -o FILE.tar.", "loading %q: %w", tag, err)
	}
	cmd := exec.CommandContext(ctx, binary, "load")
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	in, err := cmd.StdinPipe()
	if err != nil {
		return fmt.Errorf("loading %q: %w", tag, err)
	}
	if err := cmd.Start(); err != nil {
		return diag.Errorf(diag.BuildFailed, "", "starting %s load: %w", program, err)
	}
	werr := errors.Join(writeTar(ctx, in, files), in.Close())
	err = cmd.Wait()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err := errors.Join(err, ignoreClosed(werr, err)); err != nil {
		text := strings.TrimSpace(said.String())
		return diag.Errorf(diag.BuildFailed, "See what "+program+" says; is its service running?", "%s load: %w: %s", program, err, text)
	}
	return nil
}

// ignoreClosed drops the broken pipe of a program that has failed anyway.
func ignoreClosed(werr, err error) error {
	if err != nil {
		return nil
	}
	return werr
}

// archive is the layout of one platform, with the manifest.json of docker's own format.
func (r *Result) archive(platform, tag string) ([]layoutFile, error) {
	i := slices.IndexFunc(r.Images, func(m *Image) bool { return m.Platform == platform })
	if i < 0 {
		return nil, diag.Errorf(diag.Usage, "", "%q is not built for %s", r.Name, platform)
	}
	m := r.Images[i]
	top := m.descriptor
	top.Annotations = map[string]string{ocispecs.AnnotationRefName: tag, "io.containerd.image.name": tag}
	files, err := layoutFiles(top, []*Image{m})
	if err != nil {
		return nil, err
	}
	type entry struct {
		Config   string
		RepoTags []string
		Layers   []string
	}
	e := entry{Config: blobFile(digest.FromBytes(m.Config)), RepoTags: []string{tag}}
	for _, l := range m.Layers {
		e.Layers = append(e.Layers, blobFile(l.Digest))
	}
	docker, err := json.Marshal([]entry{e})
	if err != nil {
		return nil, fmt.Errorf("marshalling manifest.json: %w", err)
	}
	return sortFiles(append(files, bytesFile("manifest.json", docker))), nil
}
