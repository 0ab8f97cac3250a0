package main

import (
	"context"
	"fmt"
	"io"
	"os"

	"github-runner/lab/github"
)

// githubApp makes GitHub Apps, and does with their installations what their
// owners do.
func githubApp(ctx context.Context, env environment, api *github.Client, args []string) error {
	flags, format := githubFlags(env, "app")
	account := flags.String("account", "", "add: the owner that it is installed at (default: any)")
	key := flags.String("key", "", "add: file for the private key; - for the output")
	args, err := parse(flags, args)
	if err != nil {
		return err
	}
	switch {
	case len(args) == 1 && args[0] == "add":
		return addApp(ctx, env, api, *account, *key, *format)
	case len(args) == 1 && args[0] == "list":
		all, err := api.Apps(ctx)
		if err != nil {
			return err
		}
		return printApps(env, *format, all)
	case len(args) == 2 && args[0] == "suspend":
		return api.SuspendApp(ctx, args[1], true)
	case len(args) == 2 && args[0] == "resume":
		return api.SuspendApp(ctx, args[1], false)
	case len(args) == 2 && args[0] == "expire":
		return api.ExpireTokens(ctx, args[1])
	}
	return usagef("it is: lab github app add [--account OWNER] --key FILE, app list, or app suspend|resume|expire CLIENT-ID")
}

func addApp(ctx context.Context, env environment, api *github.Client, account, key, format string) error {
	if key == "" {
		return usagef("--key is missing: say where the private key goes")
	}
	made, err := api.AddApp(ctx, account)
	if err != nil {
		return err
	}
	private := made.PrivateKey
	made.PrivateKey = ""
	if key == "-" {
		_, err := io.WriteString(env.Stdout, private)
		return err
	}
	if err := os.WriteFile(key, []byte(private), 0o600); err != nil {
		return fmt.Errorf("cannot write the private key: %w", err)
	}
	return printApps(env, format, []github.App{made})
}

func printApps(env environment, format string, all []github.App) error {
	return print(env, format, all, "CLIENT-ID\tINSTALLATION-ID\tACCOUNT\tSUSPENDED", func(w io.Writer) {
		for _, one := range all {
			fmt.Fprintf(w, "%s\t%d\t%s\t%v\n", one.ClientID, one.InstallationID, dash(one.Account), one.Suspended)
		}
	})
}
