package contract

import "github.com/bootagent/bootagent/internal/aws/dynamodb"

// https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Expressions.OperatorsAndFunctions.html
// https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Expressions.UpdateExpressions.html
// https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_Query.html
// https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_TransactWriteItems.html
var itemStories = []itemStory{
	{
		name: "a put replaces the whole item",
		tell: func(s *itemTeller) {
			s.get("x")
			s.put("x", "a=1 b=2", "", "")
			s.put("x", "c=3", "", "")
			s.get("x")
			s.remove("x", "", "")
			s.remove("x", "", "")
			s.get("x")
		},
		want: []string{"[]", "put", "put", "[x c=3]", "removed [x c=3]", "removed []", "[]"},
	},
	{
		name: "conditions bind as they do in logic",
		tell: func(s *itemTeller) {
			s.put("x", "a=1 b=2", "", "")
			for _, c := range []struct{ condition, values string }{
				{"a = :1", ":1=1"}, {"a = :1", ":1=2"}, {"a <> :1", ":1=1"}, {"a <> :1", ":1=2"},
				{"c <> :1", ":1=1"}, {"c = :1", ":1=1"}, {"NOT c = :1", ":1=1"}, {":1 = a", ":1=1"}, {"a <> b", ""},
				{"attribute_exists(a)", ""}, {"attribute_exists(c)", ""}, {"attribute_not_exists(c)", ""}, {"begins_with(b, :1)", ":1=2"},
				// AND before OR, NOT before both, in any case of letters.
				{"a = :1 OR b = :1 AND b = :3", ":1=1 :3=3"}, {"(a = :1 OR b = :1) AND b = :3", ":1=1 :3=3"},
				{"not a = :1 or b = :2", ":1=1 :2=2"}, {"not (a = :1 or b = :2)", ":1=1 :2=2"},
			} {
				s.update("x", "REMOVE d", c.condition, c.values)
			}
		},
		want: []string{
			"put",
			"x a=1 b=2", "! ConditionalCheckFailedException on x a=1 b=2", "! ConditionalCheckFailedException on x a=1 b=2", "x a=1 b=2",
			"x a=1 b=2", "! ConditionalCheckFailedException on x a=1 b=2", "x a=1 b=2", "x a=1 b=2", "x a=1 b=2",
			"x a=1 b=2", "! ConditionalCheckFailedException on x a=1 b=2", "x a=1 b=2", "x a=1 b=2",
			"x a=1 b=2", "! ConditionalCheckFailedException on x a=1 b=2",
			"x a=1 b=2", "! ConditionalCheckFailedException on x a=1 b=2",
		},
	},
	{
		name: "an update sees the item as it was",
		tell: func(s *itemTeller) {
			s.update("x", "SET a = :1, b = :2", "attribute_not_exists(a)", ":1=1 :2=2")
			s.update("x", "SET a = b, b = a", "", "")
			s.update("x", "SET c = :3 REMOVE a", "", ":3=3")
			s.update("x", "remove b set d = c", "", "")
			s.update("x", "SET a = nothing", "", "")
		},
		want: []string{"x a=1 b=2", "x a=2 b=1", "x b=1 c=3", "x c=3 d=3", "! ValidationException"},
	},
	{
		name: "an update makes the item, whatever it does",
		tell: func(s *itemTeller) {
			s.update("x", "REMOVE a", "", "")
			s.get("x")
			s.update("y", "", "", "")
			s.update("y", "", "attribute_exists(a)", "")
			s.get("y")
		},
		want:        []string{"x", "[x]", "y", "! ConditionalCheckFailedException on y", "[y]"},
		motoIsWrong: "moto fails (500) at an update without an expression",
	},
	{
		name: "an expression that can't be read is refused",
		tell: func(s *itemTeller) {
			s.put("x", "a=1", "", "")
			for _, c := range []struct{ update, condition, values string }{
				{"SET a = :1", "", ""}, {"SET a = :1", "", ":1=1 :2=2"}, {"SET a = :1, a = :2", "", ":1=1 :2=2"}, {"SET a = :1 SET b = :1", "", ":1=1"},
				{"a = :1", "", ":1=1"}, {"SET #n = :1", "", ":1=1"}, {"SET a = :1,", "", ":1=1"}, {"REMOVE a", "a = ", ""}, {"REMOVE a", "(a = :1", ":1=1"},
				{"REMOVE a", "a = :1)", ":1=1"}, {"REMOVE a", "a == :1", ":1=1"}, {"REMOVE a", "nothing_like(a)", ""}, {"REMOVE a", "a AND b", ""},
				{"SET " + dynamodb.SortKey[1:] + "1 = :1", "a ! :1", ":1=1"},
			} {
				s.update("x", c.update, c.condition, c.values)
			}
			s.get("x")
		},
		want: []string{
			"put", "! ValidationException", "! ValidationException", "! ValidationException", "! ValidationException", "! ValidationException",
			"! ValidationException", "! ValidationException", "! ValidationException", "! ValidationException", "! ValidationException",
			"! ValidationException", "! ValidationException", "! ValidationException", "! ValidationException", "[x a=1]",
		},
		motoIsWrong: "moto fails (500) at most of them",
	},
	{
		name: "a query reads one partition by its keys, a page at a time",
		tell: func(s *itemTeller) {
			for _, key := range []string{"log/3", "log/1", "stable", "log/2", "log"} {
				s.put(key, "", "", "")
			}
			s.query("#p = :p", ":p=shop/prod", 0, true)
			s.query("#p = :p AND begins_with(#k, :k)", ":p=shop/prod :k=log/", 0, false)
			s.query("begins_with(#k, :k) AND #p = :p", ":p=shop/prod :k=log/", 2, true)
			s.query("#p = :p AND #k = :k", ":p=shop/prod :k=log", 0, true)
			s.query("#p = :p", ":p=shop/test", 0, true)
			s.query("begins_with(#p, :p)", ":p=shop", 0, true)
		},
		want: []string{
			"put", "put", "put", "put", "put",
			"5 [log, log/1, log/2, log/3, stable]", "3 [log/3, log/2, log/1]", "2 [log/1, log/2] then 1 [log/3]", "1 [log]", "0 []",
			"! ValidationException",
		},
	},
	{
		name: "a query names its partition",
		tell: func(s *itemTeller) {
			s.query("#k = :k AND #p <> :p", ":p=shop/prod :k=log", 0, true)
		},
		want:        []string{"! ValidationException"},
		motoIsWrong: "moto fails (500)",
	},
	{
		name: "a page that is full ends with a key, whatever follows",
		tell: func(s *itemTeller) {
			s.put("a", "", "", "")
			s.put("b", "", "", "")
			s.query("#p = :p", ":p=shop/prod", 2, true)
		},
		want:        []string{"put", "put", "2 [a, b] then 0 []"},
		motoIsWrong: "moto looks ahead",
	},
	{
		name: "a transaction is made whole or not at all, and says why not",
		tell: func(s *itemTeller) {
			s.put("x", "a=1", "", "")
			s.transact("", putting("y", "b=1", "attribute_not_exists(b)", ""), updating("x", "SET a = :2", "a = :1", ":1=1 :2=2"))
			s.transact("", putting("z", "c=1", "", ""), updating("x", "SET a = :2", "a = :1", ":1=1 :2=2"), checking("y", "b = :1", ":1=2"))
			s.transact("", checking("y", "b = :1", ":1=1"), putting("z", "c=1", "", ""))
			s.transact("", checking("none", "attribute_not_exists(b)", ""), updating("x", "REMOVE a", "", ""))
			for _, key := range []string{"x", "y", "z", "none"} {
				s.get(key)
			}
		},
		want: []string{
			"put", "done", "! TransactionCanceledException None ConditionalCheckFailed on x a=2 ConditionalCheckFailed", "done", "done",
			"[x]", "[y b=1]", "[z c=1]", "[]",
		},
		transactions: true,
	},
	{
		name: "a transaction with a token is made once",
		tell: func(s *itemTeller) {
			s.put("x", "a=1", "", "")
			s.transact("token-1", updating("x", "SET a = :2", "a = :1", ":1=1 :2=2"))
			s.transact("token-1", updating("x", "SET a = :2", "a = :1", ":1=1 :2=2"))
			s.transact("token-1", updating("x", "SET a = :2", "a = :1", ":1=2 :2=3"))
			s.transact("token-2", updating("x", "SET a = :2", "a = :1", ":1=1 :2=2"))
			s.get("x")
		},
		want: []string{
			"put", "done", "done", "! IdempotentParameterMismatchException", "! TransactionCanceledException ConditionalCheckFailed on x a=2", "[x a=2]",
		},
		transactions: true,
		motoIsWrong:  "moto has no use for the token",
	},
	{
		name: "a transaction has one operation an item",
		tell: func(s *itemTeller) {
			s.transact("", putting("x", "a=1", "", ""), checking("x", "attribute_not_exists(a)", ""))
			s.get("x")
		},
		want:         []string{"! ValidationException", "[]"},
		transactions: true,
	},
}
