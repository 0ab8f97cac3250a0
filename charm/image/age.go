package image

import (
	"fmt"
	"time"
)

// GitHub refuses a runner application some 30 days after the next one came out.
const (
	// aged is when a person is told, with time left to act.
	aged = 20 * 24 * time.Hour
	// Stale is the age at which runners start from the stock image again, and download
	// today's application.
	Stale = 28 * 24 * time.Hour
)

// AgeWarning is what a person should know of a unit's image that is so old, in whose
// place the stock image would be taken; "": nothing.
func AgeWarning(age time.Duration, stock, unit string) string {
	days, command := age/(24*time.Hour), fmt.Sprintf("juju run %s build-image", unit)
	switch {
	case age >= Stale:
		return fmt.Sprintf("the runner image was made %d days ago, and GitHub refuses runner applications after about 30: runners start from the stock image %s until there is a new one: %s", days, stock, command)
	case age >= aged:
		return fmt.Sprintf("the runner image was made %d days ago, and GitHub refuses runner applications after about 30: %s", days, command)
	}
	return ""
}
