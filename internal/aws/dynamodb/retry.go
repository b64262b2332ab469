package dynamodb

import (
	"errors"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
)

// contended retries as the session does, and also what met another write of
// the same item: that is no broken expectation, and a moment later it works.
// https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/transaction-apis.html#transaction-conflict-handling
type contended struct{ aws.RetryerV2 }

func (r contended) IsErrorRetryable(err error) bool {
	var one *types.TransactionConflictException
	var all *types.TransactionCanceledException
	if errors.As(err, &one) || errors.As(err, &all) && retryable(all) {
		return true
	}
	return r.RetryerV2.IsErrorRetryable(err)
}

// retryable says whether a transaction was cancelled by nothing but others' writes and limits.
func retryable(cancelled *types.TransactionCanceledException) bool {
	found := false
	for _, r := range cancelled.CancellationReasons {
		switch aws.ToString(r.Code) {
		case "", "None":
		case "TransactionConflict", "ThrottlingError", "ProvisionedThroughputExceeded":
			found = true
		default:
			return false
		}
	}
	return found
}
