package e2e_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"net/http"
	"time"

	"github.com/bootagent/bootagent/internal/gitserver"
	"github.com/bootagent/bootagent/test/nspawn"
)

// What the install page's user-data names: a repository on a host that everybody knows. The machines of a verbatim fleet
// take 127.0.0.2 of their own for that host, trust one certificate alone, and find this fleet's repository there.
const (
	githubHost    = "github.com"
	githubAddress = "127.0.0.2"
	githubOwner   = "/you"
)

// github is that host: its certificate, as the machines trust it, and as it is served.
type github struct {
	trusted []byte // PEM
	served  tls.Certificate
}

func newGithub() (github, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return github{}, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{githubHost}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	raw, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return github{}, err
	}
	return github{
		trusted: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: raw}),
		served:  tls.Certificate{Certificate: [][]byte{raw}, PrivateKey: key},
	}, nil
}

// files let a machine find the host and trust it.
func (g github) files() map[string]nspawn.File {
	return map[string]nspawn.File{
		"/etc/hosts":                         {Content: []byte("127.0.0.1 localhost\n" + githubAddress + " " + githubHost + "\n")},
		"/etc/ssl/certs/ca-certificates.crt": {Content: g.trusted},
	}
}

// serveGithub serves the fleet's repository in the machine's own network. The function it gives ends that.
func (f *fleet) serveGithub(ctx context.Context, m *nspawn.Machine) (func() error, error) {
	git, err := gitserver.Repository("shop.git", f.repo.Dir, gitserver.Options{AnySHA: true})
	if err != nil {
		return nil, err
	}
	listener, err := m.Listen(ctx, "tcp", githubAddress+":443")
	if err != nil {
		return nil, err
	}
	server := &http.Server{
		Handler: http.StripPrefix(githubOwner, git), ReadHeaderTimeout: 10 * time.Second,
		TLSConfig: &tls.Config{Certificates: []tls.Certificate{f.github.served}},
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = server.ServeTLS(listener, "", "") // ends with its Close
	}()
	return func() error {
		err := server.Close()
		<-ended
		return err
	}, nil
}
