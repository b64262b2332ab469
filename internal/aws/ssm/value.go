package ssm

import (
	"context"
	"errors"

	"github.com/aws/aws-sdk-go-v2/service/ssm/types"
)

// Value gives the value of one parameter, decrypted where it is a SecureString, and whether there is such a parameter.
func (p *Parameters) Value(ctx context.Context, name string) (value string, found bool, err error) {
	value, err = p.Secret(ctx, name)
	var missing *types.ParameterNotFound
	if errors.As(err, &missing) {
		return "", false, nil
	}
	return value, err == nil, err
}
