package agent

import "strings"

// credentialWords are what the AWS SDKs say where they find no credentials, and the address at which they look last: Go,
// Python and the CLI, JavaScript, Java, Ruby, PHP, .NET, Rust.
func credentialWords() []string {
	return []string{
		"no ec2 imds role found", "access disabled to ec2 imds", "unable to locate credentials", "could not load credentials from any providers",
		"unable to load credentials from any of the providers", "without credentials set", "credentials from the instance profile",
		"failed to resolve aws credentials", "no providers in chain provided credentials", "169.254.169.254", "fd00:ec2::254",
	}
}

// hint names the setting that is the likely cause of what a failed app said; "" where there is none.
func (s Sandbox) hint(said string) string {
	if s.Credentials || !s.Walled {
		return ""
	}
	said = strings.ToLower(said)
	for _, words := range credentialWords() {
		if strings.Contains(said, words) {
			return "; it seems to look for AWS credentials, which the app gets none of: set credentials in the instance's configuration to the ARN of a role for it"
		}
	}
	return ""
}
