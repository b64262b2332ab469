package nspawn

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

const defaultDisk = 2 << 30

// disk mounts the machine's file system: the image, and over it what is written, in memory.
func (m *Machine) disk(image string, o Options) error {
	size := o.Disk
	if size == 0 {
		size = defaultDisk
	}
	dir := m.slot.dir()
	upper, work := filepath.Join(dir, "upper"), filepath.Join(dir, "work")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%d,mode=0755", size)); err != nil {
		return fmt.Errorf("mount %s: %w", dir, err)
	}
	for _, d := range []string{upper, work, m.slot.root()} {
		if err := os.Mkdir(d, 0o755); err != nil {
			return err
		}
	}
	if err := unix.Mount("overlay", m.slot.root(), "overlay", 0, fmt.Sprintf("lowerdir=%s,upperdir=%s,workdir=%s", image, upper, work)); err != nil {
		return fmt.Errorf("mount the image %s: %w", image, err)
	}
	files := make(map[string]File, len(o.Files)+2)
	for path, file := range o.Files {
		files[path] = file
	}
	if o.UserData != "" {
		// A seed of cloud-init's NoCloud data source: as on an instance, but for where it comes from.
		files["/var/lib/cloud/seed/nocloud/user-data"] = File{Content: []byte(o.UserData)}
		files["/var/lib/cloud/seed/nocloud/meta-data"] = File{Content: []byte("instance-id: " + m.Name + "\n")}
	}
	root, err := os.OpenRoot(m.slot.root())
	if err != nil {
		return err
	}
	defer root.Close()
	for path, file := range files {
		if err := put(root, path, file); err != nil {
			return fmt.Errorf("put %s on the disk: %w", path, err)
		}
	}
	return nil
}

func put(root *os.Root, path string, file File) error {
	mode := file.Mode
	if mode == 0 {
		mode = 0o644
	}
	path = strings.TrimPrefix(filepath.Clean(path), "/")
	if err := root.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	if err := root.WriteFile(path, file.Content, mode); err != nil {
		return err
	}
	return root.Chmod(path, mode)
}

// network makes the machine's network: a veth pair to the host, and the metadata's addresses as its own.
func (m *Machine) network(ctx context.Context) error {
	name, peer := m.Name, m.Name+"p"
	metadata4, metadata6 := MetadataAddresses()
	for _, command := range [][]string{
		{"netns", "add", name},
		{"link", "add", name, "type", "veth", "peer", "name", peer, "netns", name},
		{"address", "add", m.Host.String() + "/30", "dev", name},
		{"link", "set", name, "up"},
		{"-n", name, "link", "set", peer, "name", "eth0"},
		{"-n", name, "address", "add", m.Address.String() + "/30", "dev", "eth0"},
		{"-n", name, "link", "set", "lo", "up"},
		{"-n", name, "link", "set", "eth0", "up"},
		{"-n", name, "route", "add", "default", "via", m.Host.String()},
		{"-n", name, "address", "add", metadata4.String() + "/32", "dev", "lo"},
		{"-n", name, "address", "add", metadata6.String() + "/128", "dev", "lo"},
	} {
		if err := run(ctx, append([]string{"ip"}, command...)...); err != nil {
			return fmt.Errorf("make its network: %w", err)
		}
	}
	return nil
}
