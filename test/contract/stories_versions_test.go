package contract

import (
	"fmt"
	"strings"
)

// story is told to the region and to moto, and both must answer line by line
// what AWS documents.
type story struct {
	name string
	tell func(s *teller)
	want []string
	// motoIsWrong says why moto answers something else; the story must then
	// really differ there, so that this can't outlive its reason.
	motoIsWrong string
}

// Versions, labels, selectors and paths.
// https://docs.aws.amazon.com/systems-manager/latest/userguide/sysman-paramstore-versions.html
// https://docs.aws.amazon.com/systems-manager/latest/userguide/sysman-paramstore-labels.html
// https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_GetParametersByPath.html
var versionStories = []story{
	{
		name: "every overwrite is a new version, and a put without overwrite is refused",
		tell: func(s *teller) {
			s.put("/p/release", "v1")
			s.put("/p/release", "v2")
			s.put("/p/release", "v2", overwrite)
			s.put("/p/release", "v3", overwrite, untyped)
			s.get("/p/release")
			s.history("/p/release", 50)
		},
		want: []string{
			"version 1", "! ParameterAlreadyExists", "version 2", "version 3",
			"/p/release = v3 (String, version 3)", "1 pages [1 v1 [], 2 v2 [], 3 v3 []]",
		},
	},
	{
		name: "overwrite alone makes a parameter",
		tell: func(s *teller) { s.put("/p/new", "x", overwrite); s.get("/p/new") },
		want: []string{"version 1", "/p/new = x (String, version 1)"},
	},
	{
		name: "a deleted parameter begins again at version 1, without its labels",
		tell: func(s *teller) {
			s.put("/p/a", "1")
			s.put("/p/a", "2", overwrite)
			s.label("/p/a", 2, "stable")
			s.remove("/p/a")
			s.get("/p/a")
			s.put("/p/a", "3")
			s.get("/p/a:stable")
			s.history("/p/a", 10)
		},
		want: []string{
			"version 1", "version 2", "labelled version 2, invalid []", "removed", "! ParameterNotFound", "version 1",
			"! ParameterVersionNotFound", "1 pages [1 3 []]",
		},
		motoIsWrong: "a label that is not there is ParameterNotFound in moto; GetParameter documents ParameterVersionNotFound for selectors",
	},
	{
		name: "selectors pick a version or a label",
		tell: func(s *teller) {
			s.put("/p/a", "1")
			s.put("/p/a", "2", overwrite)
			s.label("/p/a", 1, "stable")
			s.get("/p/a:1")
			s.get("/p/a:stable")
			s.get("/p/a:9")
			s.get("/p/b")
			s.get("arn:aws:ssm:us-east-1:123456789012:parameter/p/a:1")
		},
		want: []string{
			"version 1", "version 2", "labelled version 1, invalid []",
			"/p/a = 1 (String, version 1)", "/p/a = 1 (String, version 1)", "! ParameterVersionNotFound", "! ParameterNotFound",
			"/p/a = 1 (String, version 1)",
		},
	},
	{
		name: "a parameter answers to its ARN",
		tell: func(s *teller) { s.put("/p/a", "1"); s.get("arn:aws:ssm:us-east-1:123456789012:parameter/p/a") },
		want: []string{"version 1", "/p/a = 1 (String, version 1)"},
	},
	{
		name: "a SecureString is shown to those who ask for decryption",
		tell: func(s *teller) {
			s.put("/p/a", "hunter2", secure)
			s.get("/p/a")
			s.getEncrypted("/p/a")
		},
		want:        []string{"version 1", "/p/a = hunter2 (SecureString, version 1)", "hidden"},
		motoIsWrong: "moto shows the value behind kms:alias/aws/ssm:",
	},
	{
		name: "GetParameters lists what it does not find",
		tell: func(s *teller) {
			s.put("/p/a", "1")
			s.put("/p/a", "2", overwrite)
			s.label("/p/a", 1, "stable")
			s.getMany("/p/a", "/p/a:stable", "/p/a:1", "/p/a:7", "/p/a:canary", "/p/none")
		},
		want: []string{
			"version 1", "version 2", "labelled version 1, invalid []",
			"[/p/a = 1 (String, version 1), /p/a = 1 (String, version 1), /p/a = 2 (String, version 2)] invalid [/p/a:7 /p/a:canary /p/none]",
		},
	},
	{
		name: "GetParameters takes ten names",
		tell: func(s *teller) {
			names := make([]string, 11)
			for i := range names {
				names[i] = fmt.Sprintf("/p/%02d", i)
			}
			s.getMany(names[:10]...)
			s.getMany(names...)
		},
		want: []string{"[] invalid [/p/00 /p/01 /p/02 /p/03 /p/04 /p/05 /p/06 /p/07 /p/08 /p/09]", "! ValidationException"},
	},
	{
		name: "a label sits on one version and moves",
		tell: func(s *teller) {
			s.put("/p/a", "1")
			s.put("/p/a", "2", overwrite)
			s.put("/p/a", "3", overwrite)
			s.label("/p/a", 1, "stable", "first")
			s.label("/p/a", 2, "stable")
			s.label("/p/a", 0, "newest")
			s.history("/p/a", 2)
			s.label("/p/a", 4, "stable")
			s.label("/p/none", 0, "stable")
			s.unlabel("/p/a", 2, "stable", "first")
			s.history("/p/a", 50)
		},
		want: []string{
			"version 1", "version 2", "version 3", "labelled version 1, invalid []", "labelled version 2, invalid []",
			"labelled version 3, invalid []", "2 pages [1 1 [first], 2 2 [stable], 3 3 [newest]]",
			"! ParameterVersionNotFound", "! ParameterNotFound",
			"removed [stable], invalid [first]", "1 pages [1 1 [first], 2 2 [], 3 3 [newest]]",
		},
	},
	{
		name: "labels that break the rules are listed, the others are attached",
		tell: func(s *teller) {
			s.put("/p/a", "1")
			s.label("/p/a", 0, "ok-1_.x", "1st", "aws-x", "ssmx", "a b")
			s.history("/p/a", 50)
		},
		want: []string{"version 1", "labelled version 1, invalid [1st aws-x ssmx a b]", "1 pages [1 1 [ok-1_.x]]"},
	},
	{
		name:        "reserved label prefixes are reserved in any case",
		tell:        func(s *teller) { s.put("/p/a", "1"); s.label("/p/a", 0, "AWS-x", "Ssm") },
		want:        []string{"version 1", "labelled version 1, invalid [AWS-x Ssm]"},
		motoIsWrong: `the user guide says "aws" or "ssm" (not case sensitive); moto looks at the case`,
	},
	{
		name: "a version carries ten labels, a hundred characters each",
		tell: func(s *teller) {
			s.put("/p/a", "1")
			s.label("/p/a", 0, "a", "b", "c", "d", "e", "f", "g", "h", "i", "j")
			s.label("/p/a", 0, "j")
			s.label("/p/a", 0, "k")
			s.label("/p/a", 0, strings.Repeat("x", 101))
		},
		want: []string{
			"version 1", "labelled version 1, invalid []", "labelled version 1, invalid []",
			"! ParameterVersionLabelLimitExceeded", "! ValidationException",
		},
	},
	{
		name: "the hundred-and-first version pushes the oldest out, unless that is labelled",
		tell: func(s *teller) {
			for range 101 {
				s.put("/p/a", "x", overwrite)
			}
			s.lines = s.lines[100:]
			s.get("/p/a:1")
			s.get("/p/a:2")
			s.label("/p/a", 2, "keep")
			s.put("/p/a", "x", overwrite)
			s.label("/p/a", 3, "keep")
			s.put("/p/a", "x", overwrite)
			s.get("/p/a:2")
		},
		want: []string{
			"version 101", "! ParameterVersionNotFound", "/p/a = x (String, version 2)", "labelled version 2, invalid []",
			"! ParameterMaxVersionLimitExceeded", "labelled version 3, invalid []", "version 102", "! ParameterVersionNotFound",
		},
	},
	{
		name: "a path gives one level or all below it, in pages",
		tell: func(s *teller) {
			for _, name := range []string{"/p/env/A", "/p/env/B", "/p/env/C", "/p/env/deep/D", "/p/environment"} {
				s.put(name, "x")
			}
			s.lines = nil
			s.byPath("/p/env", false, 2)
			s.byPath("/p/env/", true, 10)
			s.byPath("/p/none", true, 10)
			s.byPath("/p/env", true, 11)
		},
		want: []string{
			"2 pages [/p/env/A = x (String, version 1), /p/env/B = x (String, version 1), /p/env/C = x (String, version 1)]",
			"1 pages [/p/env/A = x (String, version 1), /p/env/B = x (String, version 1), /p/env/C = x (String, version 1), " +
				"/p/env/deep/D = x (String, version 1)]",
			"1 pages []", "! ValidationException",
		},
	},
	{
		name: "a path filtered by label gives the labelled version",
		tell: func(s *teller) {
			s.put("/p/a", "1")
			s.put("/p/a", "2", overwrite)
			s.put("/p/b", "1")
			s.label("/p/a", 1, "stable")
			s.byPath("/p", true, 10, filter("Label", "Equals", "stable"))
			s.byPath("/p", true, 10, filter("Name", "Equals", "x"))
		},
		want: []string{
			"version 1", "version 2", "version 1", "labelled version 1, invalid []",
			"1 pages [/p/a = 1 (String, version 1)]", "! InvalidFilterKey",
		},
		motoIsWrong: "moto looks at the labels of the newest version only",
	},
}
