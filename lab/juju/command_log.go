package juju

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
)

func cmdDebugLog(i *invocation) func(context.Context) error {
	replay := i.flags.Bool("replay", false, "")
	tail := i.flags.Bool("tail", false, "")
	noTail := i.flags.Bool("no-tail", false, "")
	lines := 10
	i.flags.IntVar(&lines, "n", lines, "")
	i.flags.IntVar(&lines, "lines", lines, "")
	level := i.flags.String("level", "TRACE", "")
	i.flags.StringVar(level, "l", "TRACE", "")
	var include list
	i.flags.Var(&include, "include", "")
	i.flags.Var(&include, "i", "")
	return func(ctx context.Context) error {
		least := slices.Index(levels, strings.ToUpper(*level))
		if least < 0 {
			return usagef("level value %q is not one of %q", *level, levels)
		}
		if *replay {
			lines = -1
		}
		// Juju follows the log only on a terminal, unless it is told to.
		follow := *tail || i.terminal && !*noTail
		filter := logFilter{least: least, include: include}
		return i.server.logFile.copy(ctx, i.server.path("debug.log"), i.stdout, filter, lines, follow)
	}
}

// logFilter chooses records.
type logFilter struct {
	least   int
	include []string
	// taken: the last record was, and so are its further lines.
	taken bool
}

func (f *logFilter) take(line string) bool {
	if strings.HasPrefix(line, " ") {
		return f.taken
	}
	fields := strings.SplitN(line, " ", 4)
	f.taken = len(fields) == 4 && slices.Index(levels, fields[2]) >= f.least && f.includes(strings.TrimSuffix(fields[0], ":"))
	return f.taken
}

func (f *logFilter) includes(entity string) bool {
	if len(f.include) == 0 {
		return true
	}
	return slices.ContainsFunc(f.include, func(name string) bool {
		name = strings.ReplaceAll(name, "/", "-")
		return name == entity || "unit-"+name == entity
	})
}

// copy prints the last lines of the log, all of them when lines is negative, and
// goes on with what comes, if wanted.
func (l *logFile) copy(ctx context.Context, path string, out io.Writer, filter logFilter, lines int, follow bool) error {
	file, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("cannot read the debug log: %w", err)
	}
	defer file.Close()
	reader := bufio.NewReader(file)
	var last []string
	var partial string
	caughtUp := false
	for {
		more := l.more()
		line, err := reader.ReadString('\n')
		partial += line
		switch {
		case errors.Is(err, io.EOF):
			for _, line := range last {
				io.WriteString(out, line)
			}
			last, caughtUp = nil, true
			if !follow {
				return nil
			}
			select {
			case <-more:
			case <-ctx.Done():
				return nil
			}
			continue
		case err != nil:
			return fmt.Errorf("cannot read the debug log: %w", err)
		}
		line, partial = partial, ""
		if !filter.take(line) {
			continue
		}
		if caughtUp || lines < 0 {
			io.WriteString(out, line)
			continue
		}
		last = append(last, line)
		if len(last) > lines {
			last = last[len(last)-lines:]
		}
	}
}
