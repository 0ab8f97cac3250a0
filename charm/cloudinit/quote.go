package cloudinit

import (
	"errors"
	"fmt"
	"strings"
)

// Shell quotes a value as one word of a POSIX shell, whatever is in it.
func Shell(value string) (string, error) {
	if strings.ContainsRune(value, 0) {
		return "", errors.New("cannot hand a value with a NUL character to a shell")
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
		return "", errors.New("cannot put a value with a NUL character into a systemd unit")
	}
	return `"` + systemdEscapes.Replace(value) + `"`, nil
}

// envLine returns a line of the runner application's .env file, which takes
// everything up to the line's end as it is, and has no way to write a line break.
// The error names the variable only: its value may hold a password.
func envLine(name, value string) (string, error) {
	if strings.ContainsAny(value, "\n\r\x00") {
		return "", fmt.Errorf("cannot put %s into an environment file: its value has more than one line", name)
	}
	return name + "=" + value, nil
}

// environmentLine returns a line of /etc/environment. PAM cuts a value off at a
// number sign and takes quotes away where it begins with one, systemd takes
// backslashes away, and neither has a way to keep them.
func environmentLine(name, value string) (string, error) {
	if strings.ContainsAny(value, `#\`) || strings.HasPrefix(value, `"`) || strings.HasPrefix(value, "'") {
		return "", fmt.Errorf("cannot put %s into /etc/environment: its value has a number sign or backslash, or begins with a quote", name)
	}
	return envLine(name, value)
}
