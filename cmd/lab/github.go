package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github-runner/lab/github"
)

// githubCommand is one subcommand of "lab github".
type githubCommand struct {
	name    string
	summary string
	run     func(ctx context.Context, env environment, api *github.Client, args []string) error
}

func githubCommands() []githubCommand {
	return []githubCommand{
		{"job", "Queue jobs", githubJob},
		{"end", "End jobs before their time: end [JOB…] [--conclusion success]", githubEnd},
		{"jobs", "List the jobs", githubJobs},
		{"runners", "List the registered runners", githubRunners},
		{"calls", "Count the API's calls per endpoint; --reset starts anew", githubCalls},
		{"wait", "Wait until jobs or runners are as said", githubWait},
		{"group", "Add or remove a runner group: group add|remove ORGANISATION NAME", githubGroup},
		{"app", "Make a GitHub App: app add --key FILE; app list; app suspend|resume|expire CLIENT-ID", githubApp},
		{"protect", "Protect a branch: protect OWNER/REPO BRANCH [--approvals N] [--bypass user:bob] [--off]", githubProtect},
		{"ruleset", "Let a ruleset ask for reviews: ruleset OWNER[/REPO] BRANCH [--approvals N] [--bypass TYPE] [--hidden] [--off]", githubRuleset},
		{"collaborator", "Give an account a role: collaborator OWNER/REPO LOGIN ROLE [--member]", githubCollaborator},
		{"pull", "Open a pull request: pull OWNER/REPO HEAD-OWNER/REPO HEAD-BRANCH [--base-ref main]", githubPull},
		{"comment", "Comment on a pull request: comment OWNER/REPO NUMBER LOGIN TEXT", githubComment},
		{"fault", "Let things go wrong: fault add KIND, fault list, fault clear [ID]", githubFault},
	}
}

// cmdGitHub gives orders to the lab's GitHub.
func cmdGitHub(ctx context.Context, env environment, args []string) error {
	api := github.Dial(filepath.Join(env.Dir, "github.sock"))
	for _, c := range githubCommands() {
		if len(args) > 0 && args[0] == c.name {
			return c.run(ctx, env, api, args[1:])
		}
	}
	fmt.Fprint(env.Stderr, "Usage: lab github COMMAND …\n\n")
	for _, c := range githubCommands() {
		fmt.Fprintf(env.Stderr, "  %-12s  %s\n", c.name, c.summary)
	}
	if len(args) == 0 {
		return usagef("a command is missing")
	}
	if args[0] == "--help" {
		return nil
	}
	return usagef("unknown command %q", "github "+args[0])
}

// githubFlags is a flag set with the option that most commands have.
func githubFlags(env environment, name string) (*flag.FlagSet, *string) {
	flags := newFlags("github "+name, env)
	return flags, flags.String("format", "tabular", "tabular or json")
}

// parse takes options and arguments in any order.
func parse(flags *flag.FlagSet, args []string) ([]string, error) {
	var rest []string
	for {
		if err := flags.Parse(args); err != nil {
			if errors.Is(err, flag.ErrHelp) {
				return nil, exitStatus(0)
			}
			return nil, usagef("%v", err)
		}
		if flags.NArg() == 0 {
			return rest, nil
		}
		rest, args = append(rest, flags.Arg(0)), flags.Args()[1:]
	}
}

// print writes a value as JSON, or its rows as a table.
func print(env environment, format string, value any, header string, rows func(w io.Writer)) error {
	switch format {
	case "json":
		encoder := json.NewEncoder(env.Stdout)
		encoder.SetIndent("", "  ")
		return encoder.Encode(value)
	case "tabular":
		w := tabwriter.NewWriter(env.Stdout, 0, 8, 2, ' ', 0)
		fmt.Fprintln(w, header)
		rows(w)
		return w.Flush()
	}
	return usagef("format %q is neither tabular nor json", format)
}

func githubJob(ctx context.Context, env environment, api *github.Client, args []string) error {
	flags, format := githubFlags(env, "job")
	var job github.JobRequest
	flags.IntVar(&job.Count, "count", 1, "how many")
	flags.BoolVar(&job.OneRun, "one-run", false, "put all of them into one workflow run, as a matrix does")
	flags.StringVar(&job.Event, "event", "workflow_dispatch", "event that started the workflow")
	flags.DurationVar(&job.Duration, "duration", time.Second, "how long a job without a script takes")
	flags.StringVar(&job.Repository, "repo", "", "owner/name; default: whatever the first fitting runner serves")
	flags.StringVar(&job.Name, "name", "build", "the job's name")
	flags.StringVar(&job.Workflow, "workflow", "CI", "the workflow's name")
	flags.StringVar(&job.HeadSHA, "sha", "", "commit")
	flags.StringVar(&job.RefName, "ref", "", "branch or tag")
	flags.StringVar(&job.BaseRef, "base-ref", "", "target branch of a pull request")
	flags.StringVar(&job.HeadRef, "head-ref", "", "source branch of a pull request")
	flags.StringVar(&job.HeadRepository, "fork", "", "owner/name that a pull request comes from; default: the repository itself")
	flags.StringVar(&job.Association, "association", "", "what the author is to the repository: MEMBER, CONTRIBUTOR, NONE, …")
	always := flags.String("always", "", "file with a script that runs even where something before it failed")
	labels := flags.String("labels", "self-hosted", "labels that the runner must have, with commas")
	script := flags.String("script", "", "file with the job's bash script; - for stdin")
	payload := flags.String("payload", "", "file with the event's JSON")
	if err := parseAlone(flags, args); err != nil {
		return err
	}
	job.Labels = strings.FieldsFunc(*labels, func(r rune) bool { return r == ',' || r == ' ' })
	text, err := readInput(env, *script)
	if err != nil {
		return err
	}
	job.Script = string(text)
	if text, err = readInput(env, *always); err != nil {
		return err
	}
	job.Always = string(text)
	if job.Payload, err = readInput(env, *payload); err != nil {
		return err
	}
	made, err := api.Queue(ctx, job)
	if err != nil {
		return err
	}
	return printJobs(env, *format, made)
}

func readInput(env environment, name string) ([]byte, error) {
	switch name {
	case "":
		return nil, nil
	case "-":
		return io.ReadAll(env.Stdin)
	}
	return os.ReadFile(name)
}

func printJobs(env environment, format string, jobs []github.JobInfo) error {
	return print(env, format, jobs, "JOB\tRUN\tNAME\tREPOSITORY\tEVENT\tSTATUS\tCONCLUSION\tRUNNER\tTOOK", func(w io.Writer) {
		for _, j := range jobs {
			took := "-"
			if j.Started != nil && j.Completed != nil {
				took = j.Completed.Sub(*j.Started).Round(100 * time.Millisecond).String()
			}
			fmt.Fprintf(w, "%d\t%d\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", j.ID, j.RunID, j.Name, dash(j.Repository), j.Event, j.Status, dash(j.Conclusion), dash(j.Runner), took)
		}
	})
}

func dash(text string) string {
	if text == "" {
		return "-"
	}
	return text
}

func githubEnd(ctx context.Context, env environment, api *github.Client, args []string) error {
	flags, format := githubFlags(env, "end")
	conclusion := flags.String("conclusion", "success", "success, failure or cancelled")
	rest, err := parse(flags, args)
	if err != nil {
		return err
	}
	var ids []int64
	for _, arg := range rest {
		id, err := strconv.ParseInt(arg, 10, 64)
		if err != nil {
			return usagef("%q is no job's number", arg)
		}
		ids = append(ids, id)
	}
	ended, err := api.End(ctx, ids, *conclusion)
	if err != nil {
		return err
	}
	return printJobs(env, *format, ended)
}

func githubJobs(ctx context.Context, env environment, api *github.Client, args []string) error {
	flags, format := githubFlags(env, "jobs")
	if err := parseAlone(flags, args); err != nil {
		return err
	}
	jobs, err := api.Jobs(ctx)
	if err != nil {
		return err
	}
	return printJobs(env, *format, jobs)
}

func githubRunners(ctx context.Context, env environment, api *github.Client, args []string) error {
	flags, format := githubFlags(env, "runners")
	if err := parseAlone(flags, args); err != nil {
		return err
	}
	runners, err := api.Runners(ctx)
	if err != nil {
		return err
	}
	return print(env, *format, runners, "ID\tNAME\tSCOPE\tSTATUS\tBUSY\tLABELS", func(w io.Writer) {
		for _, r := range runners {
			status := "offline"
			if r.Online {
				status = "online"
			}
			if r.Removed {
				status = "removed"
			}
			fmt.Fprintf(w, "%d\t%s\t%s\t%s\t%t\t%s\n", r.ID, r.Name, r.Scope, status, r.Busy, strings.Join(r.Labels, ","))
		}
	})
}

func githubCalls(ctx context.Context, env environment, api *github.Client, args []string) error {
	flags, format := githubFlags(env, "calls")
	reset := flags.Bool("reset", false, "start counting anew")
	if err := parseAlone(flags, args); err != nil {
		return err
	}
	if *reset {
		return api.ResetCalls(ctx)
	}
	calls, err := api.Calls(ctx)
	if err != nil {
		return err
	}
	return print(env, *format, calls, "ENDPOINT\tCALLS\t304\tREFUSED", func(w io.Writer) {
		for _, c := range calls {
			fmt.Fprintf(w, "%s\t%d\t%d\t%d\n", c.Endpoint, c.Total, c.NotModified, c.Refused)
		}
	})
}

func githubWait(ctx context.Context, env environment, api *github.Client, args []string) error {
	flags, _ := githubFlags(env, "wait")
	var condition github.Condition
	flags.StringVar(&condition.Jobs, "jobs", "", "until all jobs are queued, in_progress or completed")
	flags.IntVar(&condition.Count, "count", 0, "with --jobs: until at least so many are")
	flags.StringVar(&condition.Prefix, "prefix", "", "count only runners whose names start with this")
	flags.DurationVar(&condition.Timeout, "timeout", time.Minute, "how long at most")
	for _, one := range []struct {
		name  string
		value **int
	}{
		{"registered", &condition.Registered},
		{"online", &condition.Online},
		{"idle", &condition.Idle},
		{"busy", &condition.Busy},
	} {
		flags.Func(one.name, "until exactly so many runners are "+one.name, func(text string) error {
			n, err := strconv.Atoi(text)
			*one.value = &n
			return err
		})
	}
	if err := parseAlone(flags, args); err != nil {
		return err
	}
	return api.Wait(ctx, condition)
}

func githubGroup(ctx context.Context, env environment, api *github.Client, args []string) error {
	if len(args) != 3 {
		return usagef("it is: lab github group add|remove ORGANISATION NAME")
	}
	switch args[0] {
	case "add":
		_, err := api.AddGroup(ctx, args[1], args[2])
		return err
	case "remove":
		return api.RemoveGroup(ctx, args[1], args[2])
	}
	return usagef("unknown command %q", "github group "+args[0])
}
