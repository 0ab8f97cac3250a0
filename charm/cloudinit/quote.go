package cloudinit

import (
	"fmt"
	"strings"
)

// shell quotes a value as one word of a POSIX shell, whatever is in it.
func shell(value string) (string, error) {
	if strings.ContainsRune(value, 0) {
		return "", fmt.Errorf("cannot hand %q to a shell: it has a NUL character", value)
	}
	return "'" + strings.ReplaceAll(value, "'", `'\''`) + "'", nil
}

// systemdEscapes are what systemd's own parser gives a meaning to, inside double
// quotes of a setting that expands specifiers but not variables.
var systemdEscapes = strings.NewReplacer(
	`\`, `\\`,
	`"`, `\"`,
	"\n", `\n`,
	"\r", `\r`,
	"\t", `\t`,
	"%", "%%",
)

// systemd quotes a value as one word of Environment= in a unit file.
func systemd(value string) (string, error) {
	if strings.ContainsRune(value, 0) {
		return "", fmt.Errorf("cannot put %q into a systemd unit: it has a NUL character", value)
	}
	return `"` + systemdEscapes.Replace(value) + `"`, nil
}

// envFile returns the value for a line of the runner application's .env file or
// of /etc/environment. Both take everything up to the line's end as it is, and
// have no way to write a line break.
func envFile(value string) (string, error) {
	if strings.ContainsAny(value, "\n\r\x00") {
		return "", fmt.Errorf("cannot put %q into an environment file: it has more than one line", value)
	}
	return value, nil
}
