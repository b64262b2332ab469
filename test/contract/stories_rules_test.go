package contract

import (
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/ssm/types"
)

// What is refused, described, tagged and hidden.
// https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_PutParameter.html
// https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_DescribeParameters.html
// https://docs.aws.amazon.com/systems-manager/latest/userguide/sysman-paramstore-su-create.html
var ruleStories = []story{
	{
		name: "several parameters are deleted at once",
		tell: func(s *teller) {
			s.put("/p/a", "1")
			s.put("/p/b", "1")
			s.removeMany("/p/a", "/p/b", "/p/c")
			s.remove("/p/a")
			s.history("/p/a", 10)
		},
		want: []string{
			"version 1", "version 1", "removed [/p/a /p/b], invalid [/p/c]", "! ParameterNotFound", "! ParameterNotFound",
		},
	},
	{
		name: "parameters are described by name, path, type and tag",
		tell: func(s *teller) {
			s.put("/p/a", "1", described("the first"), tagged("team", "web"))
			s.put("/p/b/c", "1", secure)
			s.tag("/p/b/c", "team", "db")
			s.describe(10, filter("Name", "BeginsWith", "/p/"))
			s.describe(10, filter("Path", "", "/p"))
			s.describe(10, filter("Path", "Recursive", "/p"), filter("Type", "", "SecureString"))
			s.describe(10, filter("Path", "Recursive", "/p"), filter("tag:team", "", "web"))
			s.describe(10, filter("Name", "Near", "/p/a"))
		},
		want: []string{
			"version 1", "version 1", "tagged",
			"1 pages [/p/a String Standard the first, /p/b/c SecureString Standard]",
			"1 pages [/p/a String Standard the first]", "1 pages [/p/b/c SecureString Standard]",
			"1 pages [/p/a String Standard the first]", "! InvalidFilterOption",
		},
	},
	{
		name: "descriptions come in pages of the size asked for",
		tell: func(s *teller) {
			s.put("/p/a", "1")
			s.put("/p/b", "1")
			s.put("/p/c", "1")
			s.describe(2, filter("Path", "", "/p"))
		},
		want: []string{
			"version 1", "version 1", "version 1", "2 pages [/p/a String Standard, /p/b String Standard, /p/c String Standard]",
		},
		motoIsWrong: "moto ignores MaxResults of DescribeParameters",
	},
	{
		name: "tags are added, listed and taken away",
		tell: func(s *teller) {
			s.put("/p/a", "1", tagged("a", "1"))
			s.tag("/p/a", "b", "2")
			s.tag("/p/a", "a", "3")
			s.tags("/p/a")
			s.untag("/p/a", "b")
			s.tags("/p/a")
			s.tags("/p/none")
			s.put("/p/a", "2", overwrite, tagged("c", "4"))
		},
		want: []string{
			"version 1", "tagged", "tagged", "[a=3 b=2]", "untagged", "[a=3]", "! InvalidResourceId", "! ValidationException",
		},
	},
	{
		name: "an overwrite keeps description and tags",
		tell: func(s *teller) {
			s.put("/p/a", "1", described("kept"), tagged("a", "1"))
			s.put("/p/a", "2", overwrite)
			s.describe(10, filter("Name", "", "/p/a"))
			s.tags("/p/a")
		},
		want: []string{"version 1", "version 2", "1 pages [/p/a String Standard kept]", "[a=1]"},
	},
	{
		name: "a value must not be empty, and a first put needs a type",
		tell: func(s *teller) { s.put("/p/a", ""); s.put("/p/a", "x", untyped) },
		want: []string{"! ValidationException", "! ValidationException"},
	},
	{
		name: "reserved names are refused",
		tell: func(s *teller) {
			s.put("/aws/x", "1")
			s.put("/ssm/x", "1")
			s.put("ssmx", "1")
			s.put("awsx", "1")
		},
		want: []string{"! AccessDeniedException", "! ValidationException", "! ValidationException", "! ValidationException"},
	},
	{
		name: "names have letters, digits and .-_, and a path begins with a slash",
		tell: func(s *teller) {
			s.put("/p/a b", "1")
			s.put("no/slash", "1")
			s.put("/p"+strings.Repeat("/x", 15), "1")
		},
		want:        []string{"! ValidationException", "! ValidationException", "! HierarchyLevelLimitExceededException"},
		motoIsWrong: "moto checks reserved prefixes only",
	},
	{
		name: "a standard value has at most 4096 bytes, an advanced one 8192",
		tell: func(s *teller) {
			s.put("/p/a", strings.Repeat("x", 4096))
			s.put("/p/b", strings.Repeat("x", 4097))
			s.put("/p/c", strings.Repeat("x", 8192), tier(types.ParameterTierAdvanced))
			s.put("/p/d", strings.Repeat("x", 8193), tier(types.ParameterTierAdvanced))
			s.put("/p/e", strings.Repeat("x", 4097), tier(types.ParameterTierIntelligentTiering))
			s.describe(10, filter("Name", "", "/p/e"))
		},
		want: []string{
			"version 1", "! ValidationException", "version 1", "! ValidationException", "version 1", "1 pages [/p/e String Advanced]",
		},
		motoIsWrong: "moto takes values of any size",
	},
	{
		name: "a value must match the allowed pattern, also of an earlier put",
		tell: func(s *teller) {
			s.put("/p/a", "abc", allowed("^[0-9]+$"))
			s.put("/p/a", "123", allowed("^[0-9]+$"))
			s.put("/p/a", "abc", overwrite)
			s.put("/p/b", "abc", allowed("["))
		},
		want: []string{
			"! ParameterPatternMismatchException", "version 1", "! ParameterPatternMismatchException", "! InvalidAllowedPatternException",
		},
		motoIsWrong: "moto stores the pattern and does not apply it",
	},
	{
		name:        "a parameter does not change its type",
		tell:        func(s *teller) { s.put("/p/a", "1"); s.put("/p/a", "2", overwrite, secure) },
		want:        []string{"version 1", "! HierarchyTypeMismatchException"},
		motoIsWrong: "PutParameter documents HierarchyTypeMismatchException; moto changes the type",
	},
	{
		name:        "a value can't nest another parameter",
		tell:        func(s *teller) { s.put("/p/a", "{{ssm:/p/b}}") },
		want:        []string{"! ValidationException"},
		motoIsWrong: "the user guide forbids {{}} in values; moto takes it",
	},
}
