package e2e_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bootagent/bootagent/internal/aws/dynamodb"
	"github.com/bootagent/bootagent/internal/gitserver"
	"github.com/bootagent/bootagent/internal/gittest"
	"github.com/bootagent/bootagent/internal/model"
	"github.com/bootagent/bootagent/internal/region"
	"github.com/bootagent/bootagent/internal/region/autoscaling"
	"github.com/bootagent/bootagent/internal/region/balancer"
	"github.com/bootagent/bootagent/internal/region/elbv2"
	"github.com/bootagent/bootagent/internal/region/imds"
	"github.com/bootagent/bootagent/test/nspawn"
)

// A laptop's times, against an Application Load Balancer's. The cases' configurations have the drain_min that goes with them, 4s, and all of them
// a policy whose bakes are short.
const (
	scale = 0.05             // of the time in which the balancer learns of changes
	delay = 10 * time.Second // the target group's deregistration delay: 300 s on AWS
	hook  = 2 * time.Minute  // the lifecycle hooks' heartbeat time-out: an hour on AWS

	policy = "{bake: 2s, min_healthy_time: 1s}"

	// patience is how long anything is waited for; a test that works never comes near it.
	patience = 3 * time.Minute

	// What packaging/user-data names: the parameter is that of its app and its env.
	groupName   = "shop-asg"
	targetGroup = "shop-web"
	parameter   = "/bootagent/shop/prod/release"
	table       = "bootagent"
)

// options of a fleet.
type options struct {
	instances int
	userData  string // the file in packaging/user-data
	// verbatim changes nothing in the user-data but the package's address and digest.
	verbatim bool
	disk     int64 // of each machine, see nspawn.Options
	noWalls  bool  // of each machine, see nspawn.Options
	// git wraps the git server.
	git func(http.Handler) http.Handler
	// booting is told of each machine as soon as it takes commands; it should return soon.
	booting func(*instance)
}

// fleet is one app's deployment. It ends with its test; one that fails shows the machines' journals.
type fleet struct {
	options
	t       testing.TB
	name    string
	image   *nspawn.Image
	repo    *gittest.Repo
	commits []string // their SHAs

	region   *region.Region
	groups   *autoscaling.Service
	balancer *elbv2.Service
	listener elbv2.Listener
	target   string // the target group's ARN
	served   string // where the git server and the package are
	github   github // of a verbatim fleet

	mu        sync.Mutex
	instances map[string]*instance
	failures  []string // what the balancer failed
}

// newFleet starts everything of a case but the machines: launch does that.
func newFleet(t testing.TB, name string, edits ...func(*options)) *fleet {
	t.Helper()
	f := &fleet{t: t, name: name, image: nspawn.Prepare(t), repo: gittest.NewRepo(t), instances: map[string]*instance{},
		options: options{instances: 1, userData: "debian.sh", booting: func(*instance) {}, git: func(h http.Handler) http.Handler { return h }}}
	for _, edit := range edits {
		edit(&f.options)
	}
	var err error
	if f.verbatim {
		if f.github, err = newGithub(); err != nil {
			t.Fatal(err)
		}
	}
	if f.region, err = region.New(t.Context(), region.Options{Listener: f.listen()}); err != nil {
		t.Fatal(err)
	}
	if err := f.region.DynamoDB.MakeTable(table, dynamodb.PartitionKey, dynamodb.SortKey, dynamodb.Expiry); err != nil {
		t.Fatal(err)
	}
	f.serve()
	f.balancer = elbv2.New(elbv2.Options{Instances: f, Propagation: elbv2.ALB().Scale(scale), Balancer: balancer.Options{OnFailure: f.balancerFailed}})
	f.groups = autoscaling.New(autoscaling.Options{Launcher: f, Traffic: f.balancer, OnTransition: f.transition, EffectTimeout: patience})
	t.Cleanup(f.close)
	f.region.Handle(elbv2.SigningName, elbv2.Namespace, f.balancer)
	f.region.Handle(autoscaling.Name, autoscaling.Namespace, f.groups)
	check := elbv2.HealthCheck{Path: "/up", Interval: time.Second, Timeout: 500 * time.Millisecond}
	if f.target, err = f.balancer.CreateTargetGroup(elbv2.GroupSpec{Name: targetGroup, Port: 8080, Check: check, Delay: delay}); err != nil {
		t.Fatal(err)
	}
	lb, err := f.balancer.CreateLoadBalancer(elbv2.BalancerSpec{Name: "shop"})
	if err != nil {
		t.Fatal(err)
	}
	if f.listener, err = f.balancer.CreateListener(lb, 0, f.target); err != nil {
		t.Fatal(err)
	}
	return f
}

// listen listens where the machines are, and they alone.
func (f *fleet) listen() net.Listener {
	f.t.Helper()
	listener, err := new(net.ListenConfig).Listen(f.t.Context(), "tcp", net.JoinHostPort(nspawn.HostAddress().String(), "0"))
	if err != nil {
		f.t.Fatal(err)
	}
	return listener
}

// serve serves the repository, and the package that user-data installs.
func (f *fleet) serve() {
	f.t.Helper()
	git, err := gitserver.Repository("shop.git", f.repo.Dir, gitserver.Options{
		AnySHA: true, Config: map[string]string{"pack.compression": "0"}, // which costs more than all else of a case with large files
	})
	if err != nil {
		f.t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("/shop.git/", f.git(git))
	mux.HandleFunc("/bootagent.deb", func(w http.ResponseWriter, r *http.Request) { http.ServeFile(w, r, packages.first) })
	listener := f.listen()
	f.served = "http://" + listener.Addr().String()
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = server.Serve(listener) // ends with the test
	}()
	f.t.Cleanup(func() {
		_ = server.Close()
		<-ended
	})
}

// close ends the fleet and the region.
func (f *fleet) close() {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if f.t.Failed() {
		f.explain(ctx)
	}
	for what, err := range map[string]error{"Auto Scaling": f.groups.Close(ctx), "the balancer": f.balancer.Close(ctx), "the region": f.region.Close()} {
		if err != nil {
			f.t.Errorf("close %s: %v", what, err)
		}
	}
}

// explain shows what there is to see of a fleet whose test failed.
func (f *fleet) explain(ctx context.Context) {
	f.mu.Lock()
	instances, failures := f.instances, f.failures
	f.mu.Unlock()
	if len(failures) > 0 {
		f.t.Logf("the balancer failed %d requests, the first of them:\n%s", len(failures), strings.Join(failures[:min(10, len(failures))], "\n"))
	}
	for id, i := range instances {
		journal, err := i.Journal(ctx, "--lines=150")
		f.t.Logf("the journal of %s (%v):\n%s", id, err, journal)
	}
}

// commit makes the case's next commit, with more files where a folder can't hold them, and gives its number.
func (f *fleet) commit(more ...map[string]gittest.File) int {
	f.t.Helper()
	n := len(f.commits) + 1
	files := map[string]gittest.File{}
	if n == 1 {
		f.read(files, "app")
	}
	f.read(files, filepath.Join("cases", f.name, fmt.Sprint(n)))
	for _, m := range more {
		maps.Copy(files, m)
	}
	files["VERSION"] = gittest.File{Body: fmt.Sprintln(n)} // so that no commit is like another
	f.commits = append(f.commits, f.repo.CommitFiles("main", files))
	return n
}

// read takes the files of a directory, which need not be there.
func (f *fleet) read(into map[string]gittest.File, dir string) {
	f.t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		content, err := os.ReadFile(path)
		name, _ := filepath.Rel(dir, path) // path is below dir
		into[name] = gittest.File{Body: string(content)}
		return err
	})
	if err != nil && !os.IsNotExist(err) {
		f.t.Fatal(err)
	}
}

// text gives the user-data, word for word but for what a user replaces too.
func (f *fleet) text() (string, error) {
	text, err := os.ReadFile(filepath.Join("../../packaging/user-data", f.userData))
	if err != nil {
		return "", err
	}
	deb, err := os.ReadFile(packages.first)
	if err != nil {
		return "", err
	}
	digest := sha256.Sum256(deb)
	out := string(text)
	changes := [][2]string{
		{"https://example.com/bootagent.deb", f.served + "/bootagent.deb"},
		{strings.Repeat("0", 64), hex.EncodeToString(digest[:])},
	}
	if !f.verbatim {
		config, err := os.ReadFile(filepath.Join("cases", f.name, "config"))
		if err != nil {
			return "", err
		}
		changes = append(changes, [][2]string{
			{"https://github.com/you/shop.git", f.served + "/shop.git"},
			{"fleet: {table: " + table + "}}", "fleet: {table: " + table + "}, policy: " + policy + ", " + strings.TrimSpace(string(config)) + "}"},
		}...)
	}
	for _, change := range changes {
		if !strings.Contains(out, change[0]) {
			return "", fmt.Errorf("%s does not say %q", f.userData, change[0])
		}
		out = strings.ReplaceAll(out, change[0], change[1])
	}
	return out, nil
}

// launch makes the Auto Scaling group, which launches the fleet.
func (f *fleet) launch() {
	f.t.Helper()
	err := f.groups.CreateGroup(autoscaling.GroupConfig{
		Name: groupName, Min: 0, Max: 2 * f.options.instances, Desired: f.options.instances,
		Hooks: []autoscaling.Hook{
			{Name: "bootagent", Transition: autoscaling.Launching, Heartbeat: hook, Default: model.HookAbandon},
			{Name: "bootagent-leave", Transition: autoscaling.Terminating, Heartbeat: hook, Default: model.HookContinue},
		},
	})
	if err != nil {
		f.t.Fatal(err)
	}
}

// Launch boots an instance with the user-data.
func (f *fleet) Launch(ctx context.Context, launched autoscaling.Instance) (autoscaling.Machine, error) {
	text, err := f.text()
	if err != nil {
		return nil, err
	}
	m, err := f.image.Boot(ctx, nspawn.Options{UserData: text, Disk: f.disk, NoWalls: f.noWalls, Files: f.files()})
	if err != nil {
		return nil, err
	}
	i := &instance{Machine: m, f: f, id: launched.ID, gone: make(chan struct{})}
	listeners, err := metadataListeners(ctx, m)
	if err == nil {
		i.imds, err = f.region.StartIMDS(ctx, imds.Options{
			Listeners: listeners, InstanceID: launched.ID, AvailabilityZone: launched.Zone, Tags: launched.Tags,
			PrivateIP: m.Address.String(), TargetLifecycle: string(model.LifecycleInService),
		})
	}
	if err == nil && f.verbatim {
		i.unserve, err = f.serveGithub(ctx, m)
	}
	if err != nil {
		return nil, fmt.Errorf("launch %s: %w", launched.ID, errors.Join(err, m.Close(context.WithoutCancel(ctx))))
	}
	f.mu.Lock()
	f.instances[launched.ID] = i
	f.mu.Unlock()
	f.booting(i)
	return i, nil
}

// files are on a machine's disk before its first boot: where its region is, which AWS knows by itself, and two walls less than on an
// instance. They make systemd mount /proc anew, and in a container, which the machine is, that shows the host's boot id.
func (f *fleet) files() map[string]nspawn.File {
	files := map[string]nspawn.File{
		"/etc/bootagent/environment":                             {Content: []byte("AWS_ENDPOINT_URL=" + f.region.Endpoint() + "\n")},
		"/srv/somebody-elses":                                    {Content: []byte("not for the app"), Mode: 0o600},
		"/etc/systemd/system/bootagent.service.d/container.conf": {Content: []byte("[Service]\nProtectKernelTunables=no\nProtectControlGroups=no\n")},
	}
	if f.verbatim {
		maps.Copy(files, f.github.files())
	}
	return files
}

func metadataListeners(ctx context.Context, m *nspawn.Machine) ([]net.Listener, error) {
	v4, v6 := nspawn.MetadataAddresses()
	first, err := m.Listen(ctx, "tcp", net.JoinHostPort(v4.String(), "80"))
	if err != nil {
		return nil, err
	}
	second, err := m.Listen(ctx, "tcp", net.JoinHostPort(v6.String(), "80"))
	if err != nil {
		return nil, errors.Join(err, first.Close())
	}
	return []net.Listener{first, second}, nil
}

// Address says where an instance is.
func (f *fleet) Address(instanceID string) (string, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	i := f.instances[instanceID]
	if i == nil {
		return "", false
	}
	return i.Address.String(), true
}

// transition tells an instance's IMDS.
func (f *fleet) transition(instanceID string, current, target model.Lifecycle) {
	f.mu.Lock()
	i := f.instances[instanceID]
	f.mu.Unlock()
	if i == nil {
		return
	}
	i.imds.SetTargetLifecycle(string(target))
	if current == model.LifecycleTerminated {
		f.balancer.InstanceGone(instanceID)
	}
}

// balancerFailed is told of each request that the balancer failed.
func (f *fleet) balancerFailed(failure balancer.Failure) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.failures = append(f.failures, fmt.Sprintf("%s %s %s to %q: %d, %v",
		failure.Time.Format("15:04:05.000"), failure.Method, failure.Path, failure.Target, failure.Status, failure.Cause))
}

// running gives the instances that are there, in order of their launch.
func (f *fleet) running() []*instance {
	all := f.groups.Instances(groupName)
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []*instance
	for _, status := range all {
		if i := f.instances[status.ID]; i != nil {
			out = append(out, i)
		}
	}
	return out
}

// url is where the balancer serves the app.
func (f *fleet) url() string { return "http://" + f.listener.Balancer.Addr().String() }

var (
	_ autoscaling.Launcher = (*fleet)(nil)
	_ elbv2.Instances      = (*fleet)(nil)
)
