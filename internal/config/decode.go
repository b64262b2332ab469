package config

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"path"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/bootagent/bootagent/deploy/recipe"
	"github.com/bootagent/bootagent/internal/strictyaml"
)

func decode(m *strictyaml.Map) Config {
	c := Config{
		Balancer: Balancer{Mode: ModeSelf, FirstPort: DefaultFirstPort, LastPort: DefaultLastPort},
		DrainMin: DefaultDrainMin, UnhealthyGrace: DefaultUnhealthyGrace, HoldOnFailure: DefaultHoldOnFailure,
		KeepReleases: DefaultKeepReleases, AppUser: DefaultAppUser, BuildUser: DefaultBuildUser,
		Limits: Limits{FreeSpace: DefaultFreeSpace, Memory: DefaultMemory, Bytes: DefaultBytes, File: DefaultFile, Files: DefaultFiles},
		Log:    Log{Level: "info"},
	}
	m.Require("app", "it names what is deployed").Check(&c.App, checkWord)
	m.Require("env", "it names where it is deployed, prod for example").Check(&c.Env, checkWord)
	m.Get("region").Check(&c.Region, checkRegion)
	c.Source = source(m.Require("source", "its url is the app's repository"))
	c.Parameter = "/bootagent/" + c.App + "/" + c.Env + "/release"
	if v := m.Get("release"); v.Given() {
		r := v.Map()
		r.Get("parameter").Check(&c.Parameter, checkParameter)
		r.Done()
	}
	word := "overlap"
	choice := m.Get("switch")
	choice.Enum(&word, []string{"overlap", "restart"})
	c.Balancer = balancer(m, c.Balancer, word == "restart")
	c.Restart = word == "restart" || c.Balancer.Mode == ModeASG
	if choice.Given() && word == "overlap" && c.Balancer.Mode == ModeASG {
		choice.Fail("switch: overlap does not go with balancer.mode asg, in which an instance has one port: leave it out")
	}
	m.Get("drain_min").Duration(&c.DrainMin, 0, time.Hour)
	m.Get("unhealthy_grace").Duration(&c.UnhealthyGrace, time.Second, time.Hour)
	m.Get("hold_on_failure").Duration(&c.HoldOnFailure, 0, 24*time.Hour)
	c.SecretsPath = "/bootagent/" + c.App + "/" + c.Env + "/env"
	if v := m.Get("secrets"); v.Given() {
		s := v.Map()
		s.Get("path").Check(&c.SecretsPath, checkParameter)
		s.Done()
	}
	users(m, &c)
	c.Credentials = credentials(m.Get("credentials"))
	m.Get("keep_releases").Int(&c.KeepReleases, 2, 100)
	c.Limits = limits(m.Get("limits"), c.Limits)
	if v := m.Get("recipe"); v.Given() {
		inline := recipe.Inline(v)
		c.Recipe = &inline
	}
	c.Log = logging(m.Get("log"), c.Log)
	c.Table = fleet(m.Get("fleet"))
	c.Policy = policy(m.Get("policy"), c.Restart)
	c.Cache = cache(m.Get("cache"))
	m.Reserved("packages")
	m.Done()
	return c
}

func source(v strictyaml.Value) Source {
	var s Source
	m := v.Map()
	place := m.Require("url", "it is the app's repository, https://github.com/you/app.git for example")
	place.Check(&s.URL, checkURL)
	if a := m.Get("auth"); a.Given() {
		auth := a.Map()
		auth.Get("parameter").Check(&s.Auth.Parameter, checkParameter)
		auth.Get("key").Check(&s.Auth.Key, checkParameter)
		auth.Get("user").String(&s.Auth.User)
		auth.Done()
		switch ssh := overSSH(s.URL); {
		case ssh && s.Auth.Key == "":
			a.Fail("source.auth.key is missing: over SSH it names the SecureString that holds the private key; a token is for https")
		case ssh && s.Auth.Parameter != "":
			a.Fail("source.auth.parameter is for a token over https; over SSH give source.auth.key alone")
		case !ssh && s.Auth.Key != "":
			a.Fail("source.auth.key is for SSH; over https give source.auth.parameter, the name of the SecureString that holds the token or password")
		case !ssh && s.Auth.Parameter == "":
			a.Fail("source.auth.parameter is missing: it names the SecureString that holds the token or password")
		}
		if u, err := url.Parse(s.URL); err == nil && u.Scheme == "http" && !loopback(u.Hostname()) {
			place.Fail("source.url is plain http, and source.auth would show its secret to the network; use https")
		}
	}
	m.Get("subdirectory").Check(&s.Subdirectory, checkSubdirectory)
	hosts := m.Get("known_hosts")
	hosts.String(&s.KnownHosts)
	switch ssh := overSSH(s.URL); {
	case ssh && s.KnownHosts == "":
		place.Fail("source.url is an SSH address, and source.known_hosts is missing: it pins the host's key; take the lines that `ssh-keyscan <host>` prints, once they are checked against what the host publishes")
	case ssh && s.Auth.Key == "":
		place.Fail("source.url is an SSH address, and source.auth.key is missing: it names the SecureString that holds the private key")
	case !ssh && hosts.Given():
		hosts.Fail("source.known_hosts is for SSH, and source.url is not an SSH address: leave it out")
	}
	for _, item := range m.Get("submodule_hosts").List() {
		var host string
		if item.Check(&host, checkHost) {
			s.SubmoduleHosts = append(s.SubmoduleHosts, host)
		}
	}
	s.Verify = verify(m.Get("verify"))
	s.Engine = EngineAuto
	m.Get("engine").Enum(&s.Engine, []string{EngineAuto, EngineGoGit, EngineGit})
	m.Done()
	return s
}

func cache(v strictyaml.Value) (c Cache) {
	if !v.Given() {
		return c
	}
	m := v.Map()
	m.Require("url", "it says where built releases are kept: s3://bucket/prefix, or file:///directory").Check(&c.URL, checkCache)
	m.Done()
	return c
}

func checkCache(s string) error {
	u, err := url.Parse(s)
	switch {
	case err != nil || u.User != nil || u.RawQuery != "" || u.Fragment != "" || u.Opaque != "" || u.Port() != "":
		return errors.New("must be an address such as s3://bucket/prefix or file:///srv/bootagent")
	case u.Scheme == "file" && u.Host == "" && len(u.Path) > 1 && path.Clean(u.Path) == u.Path:
		return nil
	case u.Scheme == "file":
		return errors.New("must name a directory by its full path: file:///srv/bootagent")
	case u.Scheme == "s3" && !bucket.MatchString(u.Host):
		return errors.New("must name a bucket: s3://bucket or s3://bucket/prefix")
	case u.Scheme == "s3" && u.Path != "" && (path.Clean(u.Path) != u.Path || u.Path == "/" || !cachePrefix.MatchString(u.Path)):
		return errors.New("must have a prefix of letters, digits and . _ - between single slashes, and no slash at its end")
	case u.Scheme == "s3":
		return nil
	}
	return fmt.Errorf("has the scheme %q, and artifacts are kept in s3:// or file://", u.Scheme)
}

// overSSH says whether an address is one of SSH: ssh://…, or the short form of scp, git@host:path.
func overSSH(address string) bool {
	before, _, colon := strings.Cut(address, ":")
	return strings.HasPrefix(address, "ssh://") || strings.HasPrefix(address, "git+ssh://") || colon && strings.Contains(before, "@")
}

func checkHost(s string) error {
	if s == "" || strings.ContainsAny(s, "/@ \t\n") {
		return errors.New("must be a host or host:port")
	}
	return nil
}

func balancer(root *strictyaml.Map, b Balancer, restart bool) Balancer {
	v := root.Get("balancer")
	m := v.Map()
	m.Get("mode").Enum(&b.Mode, []string{ModeSelf, ModeASG, ModeNone})
	groups := m.Get("target_groups")
	for _, item := range groups.List() {
		var group string
		if item.Check(&group, checkTargetGroup) {
			b.TargetGroups = append(b.TargetGroups, group)
		}
	}
	switch {
	case b.Mode != ModeNone && len(b.TargetGroups) == 0 && !groups.Given():
		root.Require("balancer", `its target_groups are where healthy instances are registered; write "balancer: {mode: none}" if there is no load balancer`)
		if v.Given() {
			v.Fail("balancer.target_groups is missing: it lists the ARNs or names of the target groups in which healthy instances are registered; write \"mode: none\" if there is no load balancer")
		}
	case b.Mode != ModeNone && groups.Given() && len(groups.List()) == 0:
		groups.Fail("balancer.target_groups is empty; name at least one, or write \"mode: none\"")
	case b.Mode == ModeNone && groups.Given():
		groups.Fail("balancer.target_groups is given, but balancer.mode is none: leave one of them out")
	}
	var ports string
	if p := m.Get("ports"); b.Mode == ModeASG {
		b.FirstPort, b.LastPort = 0, 0
		if p.Given() {
			p.Fail("balancer.ports does not go with balancer.mode asg, in which Auto Scaling registers the target groups' own port: leave it out")
		}
	} else if p.String(&ports) {
		first, last, err := portRange(ports, restart)
		if err != nil {
			p.Fail("balancer.ports %s", err)
		} else {
			b.FirstPort, b.LastPort = first, last
		}
	}
	m.Done()
	return b
}

func limits(v strictyaml.Value, l Limits) Limits {
	m := v.Map()
	const most = 1 << 50
	m.Get("free_space").Bytes(&l.FreeSpace, 0, most)
	m.Get("memory").Bytes(&l.Memory, 0, most)
	m.Get("bytes").Bytes(&l.Bytes, 1, most)
	m.Get("file").Bytes(&l.File, 1, most)
	m.Get("files").Int(&l.Files, 1, 100_000_000)
	m.Done()
	return l
}

func logging(v strictyaml.Value, l Log) Log {
	m := v.Map()
	m.Get("level").Enum(&l.Level, []string{"debug", "info", "warn", "error"})
	format := "text"
	m.Get("format").Enum(&format, []string{"text", "json"})
	l.JSON = format == "json"
	m.Done()
	return l
}

// portRange reads "8080-8083". A handover needs two ports at least: the old release keeps its own until the new one serves.
// By restart one will do, and may be written alone.
func portRange(text string, restart bool) (first, last int, err error) {
	from, to, ok := strings.Cut(strings.ReplaceAll(text, "–", "-"), "-")
	if !ok && restart {
		to, ok = from, true
	}
	first, err1 := strconv.Atoi(strings.TrimSpace(from))
	last, err2 := strconv.Atoi(strings.TrimSpace(to))
	switch {
	case !ok, err1 != nil, err2 != nil, first < 1, last > 65535:
		return 0, 0, fmt.Errorf("is not a range of ports such as \"8080-8083\"")
	case last < first:
		return 0, 0, fmt.Errorf("ends before it begins: write the lower port first")
	case last == first && !restart:
		return 0, 0, fmt.Errorf("has one port, and a handover needs two: the old release keeps its own until the new one serves; an app that can't run twice has \"switch: restart\", for which one is enough")
	case last-first > 63:
		return 0, 0, fmt.Errorf("has %d ports; at most 64 are looked after", last-first+1)
	}
	return first, last, nil
}

var (
	word        = regexp.MustCompile(`^[a-z][a-z0-9-]{0,30}$`)
	region      = regexp.MustCompile(`^[a-z]{2,4}(-[a-z]+)+-\d$`)
	bucket      = regexp.MustCompile(`^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$`)
	cachePrefix = regexp.MustCompile(`^(/[A-Za-z0-9._-]+)+$`)
	parameter   = regexp.MustCompile(`^/[A-Za-z0-9_.\-/]+$`)
	targetGroup = regexp.MustCompile(`^(arn:aws[a-z-]*:elasticloadbalancing:[a-z0-9-]+:\d{12}:targetgroup/[A-Za-z0-9-]{1,32}/[0-9a-f]+|[A-Za-z0-9]([A-Za-z0-9-]{0,30}[A-Za-z0-9])?)$`)
)

func checkWord(s string) error {
	if !word.MatchString(s) {
		return errors.New("must be a name of lower-case letters, digits and dashes that begins with a letter, 31 at most")
	}
	return nil
}

func checkRegion(s string) error {
	if !region.MatchString(s) {
		return errors.New("must be a region such as eu-central-1")
	}
	return nil
}

func checkParameter(s string) error {
	if len(s) > 1011 || !parameter.MatchString(s) || strings.Contains(s, "//") || strings.HasSuffix(s, "/") {
		return errors.New("must be the full name of a parameter, such as /bootagent/shop/prod/release")
	}
	return nil
}

func checkTargetGroup(s string) error {
	if !targetGroup.MatchString(s) {
		return errors.New("must be the ARN or the name of a target group")
	}
	return nil
}

func checkSubdirectory(s string) error {
	if s == "" || path.IsAbs(s) || path.Clean(s) != s || s == ".." || strings.HasPrefix(s, "../") || strings.ContainsAny(s, "\\\x00") {
		return errors.New("must be a directory inside the repository, such as services/shop")
	}
	return nil
}

func checkURL(s string) error {
	if overSSH(s) {
		return checkSSH(s)
	}
	u, err := url.Parse(s)
	switch {
	case err != nil || strings.ContainsAny(s, " \t\n"):
		return errors.New("must be a URL such as https://github.com/you/app.git")
	case u.Scheme == "file", u.Scheme == "":
		return errors.New("is a path, and instances fetch over the network; use https")
	case u.Scheme != "https" && u.Scheme != "http":
		return fmt.Errorf("has the scheme %s, and repositories are read over https", u.Scheme)
	case u.User != nil:
		return errors.New("has a user or a password in it; put the secret into Parameter Store and name it in source.auth")
	case u.Host == "":
		return errors.New("names no host")
	case u.RawQuery != "" || u.Fragment != "":
		return errors.New("has a query or a fragment, and a repository's address has none")
	}
	return nil
}

// checkSSH refuses a secret in the address; the rest is the source's to judge, which knows all its forms.
func checkSSH(s string) error {
	if strings.ContainsAny(s, " \t\n") {
		return errors.New("must be an address such as git@github.com:you/app.git")
	}
	if u, err := url.Parse(s); err == nil && u.User != nil {
		if _, password := u.User.Password(); password {
			return errors.New("has a password in it; put a key into Parameter Store and name it in source.auth.key")
		}
	}
	return nil
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}
