package artifact

import (
	"fmt"

	"github.com/bootagent/bootagent/deploy/tree"
)

// archiveMost is the largest object that S3 takes in one request.
// https://docs.aws.amazon.com/AmazonS3/latest/userguide/upload-objects.html
const archiveMost = 5 << 30

// Limits bound what is packed and what is unpacked: what a build made of a revision is larger than the revision. A zero field
// stands for its default.
type Limits struct {
	Bytes     int64 // of all files together; 8 GiB
	FileBytes int64 // of one file; 4 GiB
	Files     int   // files, links and directories together; a million
	Depth     int   // directories above a file; 200, which npm's nested ones stay below
}

func (l Limits) withDefaults() Limits {
	if l.Bytes == 0 {
		l.Bytes = 8 << 30
	}
	if l.FileBytes == 0 {
		l.FileBytes = 4 << 30
	}
	if l.Files == 0 {
		l.Files = 1_000_000
	}
	if l.Depth == 0 {
		l.Depth = 200
	}
	return l
}

// systemDirs are where a machine's programs and libraries are. A Python virtual environment links to its interpreter there.
func systemDirs() []string {
	return []string{"/usr", "/bin", "/sbin", "/lib", "/lib64", "/opt"}
}

// tree is the limits for the writer. A release's own links may lead to its own directory by its full name.
func (l Limits) tree(home string) tree.Limits {
	l = l.withDefaults()
	outside := systemDirs()
	if home != "" {
		outside = append(outside, home)
	}
	return tree.Limits{Files: l.Files, Bytes: l.Bytes, FileBytes: l.FileBytes, Depth: l.Depth, Links: tree.LinksInside, Outside: outside}
}

// tarMost bounds a tar by what is in it: each entry has a header of 512 bytes, is filled up to 512, and may have an extended header.
func (l Limits) tarMost() int64 {
	l = l.withDefaults()
	return l.Bytes + int64(l.Files)*8<<10 + 1<<20
}

// admit refuses content that is larger than may be, by what its manifest says.
func (l Limits) admit(c Content) error {
	l = l.withDefaults()
	entries := max(c.Files, c.Directories, c.Links)
	if entries <= l.Files { // else their sum might be no number any more
		entries = c.Files + c.Directories + c.Links
	}
	switch {
	case c.FileBytes > l.Bytes || c.Bytes > l.tarMost():
		return &BadError{fmt.Errorf("it has %d bytes of files in a tar of %d, and %d are the most that is unpacked", c.FileBytes, c.Bytes, l.Bytes)}
	case entries > l.Files:
		return &BadError{fmt.Errorf("it has %d files, links and directories, and %d are the most that is unpacked", entries, l.Files)}
	}
	return nil
}
