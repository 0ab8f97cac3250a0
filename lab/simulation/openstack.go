package simulation

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"github-runner/charm/fleet"
	"github-runner/lab/faults"
	"github-runner/lab/openstack"
)

// The OpenStack of the world, where there is one.
const (
	openStackAddress  = "openstack:5000"
	openStackProject  = "lab"
	openStackPassword = "SECRETpassword"
)

// vanishing are the servers that vanish where some do.
var vanishing = owner.Prefix() + "[1-9a-f]*" // a neighbour's has a 0 there

// openStackTiming is about what a cloud takes.
var openStackTiming = openstack.Timing{
	Call: 20 * time.Millisecond, Build: 15 * time.Second, Boot: 20 * time.Second, Work: 20 * time.Second,
	PowerOff: time.Second, Power: 3 * time.Second, Delete: 4 * time.Second, Snapshot: 15 * time.Second,
}

// cloudAtFirst is what there is in OpenStack, with servers of other people: a unit whose
// runners' names begin like app/1's, and an operator's of our names' shape.
func cloudAtFirst() openstack.World {
	first := openstack.FirstWorld()
	first.Projects[0].Users[0].Password = openStackPassword
	for _, name := range []string{"app-10-0000000000000001", owner.Prefix() + "0badcafe", "app-1-build"} {
		first.Servers = append(first.Servers, openstack.Neighbour{Name: name, Project: openStackProject})
	}
	return first
}

// startOpenStack starts the OpenStack, which lives on whatever happens to the machine.
func (w *world) startOpenStack() error {
	server, err := openstack.New(openstack.Options{
		Dir: w.path("openstack"), Address: openStackAddress, Open: w.network.Listen, Dial: w.network.Dial,
		Listen: w.guests.listen, World: cloudAtFirst(), Timing: openStackTiming, Log: silent(),
	})
	if err != nil {
		return err
	}
	ctx, end := context.WithCancel(context.Background())
	up, down := make(chan struct{}), make(chan error, 1)
	go func() { down <- server.Serve(ctx, func() { close(up) }) }()
	select {
	case <-up:
	case err := <-down:
		end()
		return fmt.Errorf("cannot start the emulated OpenStack: %w", err)
	}
	w.openStack = server
	w.endOpenStack = func() error {
		end()
		return <-down
	}
	return nil
}

// openStackOptions are those of a unit with its runners there.
func (w *world) openStackOptions() map[string]any {
	return map[string]any{
		"openstack-clouds-yaml": w.openStack.CloudsYAML(openStackProject, openStackProject),
		"openstack-flavor":      "m1.small", "openstack-network": "lab", "manager-address": "192.0.2.10",
	}
}

// wayToOpenStack is a process's.
func (w *world) wayToOpenStack(p *process) fleet.OpenStackWay {
	if w.openStack == nil {
		return fleet.OpenStackWay{}
	}
	return fleet.OpenStackWay{
		Dial: p.dial(openStackAddress), Carry: p.carry("OpenStack"),
		Guests: func(ctx context.Context, _, address string) (net.Conn, error) {
			host, _, err := net.SplitHostPort(address)
			if err != nil {
				return nil, err
			}
			return p.connect(func() (net.Conn, error) { return w.openStack.DialGuest(ctx, host) })
		},
	}
}

// troubleOpenStack lets OpenStack go wrong for a time.
func (l *life) troubleOpenStack(fault faults.Fault, length time.Duration) {
	made, err := l.world.openStack.AddFault(fault)
	if err != nil {
		l.violate("the simulation itself failed: %v", err)
		return
	}
	if fault.Kind == openstack.Vanishes {
		l.forgiveFor(length+time.Second, "", "servers vanish")
	}
	l.trouble(length, string(fault.Kind), func() { l.world.openStack.ClearFaults(fmt.Sprint(made.ID)) })
}

// moveToLXD and moveToOpenStack let the unit have its runners there.
func (l *life) moveToLXD() {
	for option, value := range onlyLXD {
		l.unit.set(option, value)
	}
	l.configure("openstack-clouds-yaml", nil)
}

func (l *life) moveToOpenStack() {
	l.configure("openstack-clouds-yaml", l.world.openStackOptions()["openstack-clouds-yaml"])
}

// restartOpenStack lets the services of OpenStack be away for a time.
func (l *life) restartOpenStack(down time.Duration) { l.away(down, l.world.openStack) }

// operate lets the operator do something to a server of the unit's that runs; it
// does nothing where there is none.
func (l *life) operate(what, method, path string, body any) {
	for _, one := range l.world.openStack.Possessions().Servers {
		if !isOurs(one) || one.Status != "ACTIVE" || one.Deleting {
			continue
		}
		l.disturbed()
		l.forgiveFor(openStackTiming.Power+openStackTiming.Delete, one.Name, "the operator "+what+" it")
		if err := l.world.callNova(method, "/servers/"+one.ID+path, body); err != nil {
			l.story.tell("the operator could not: %v", err)
		}
		return
	}
}

// stopServer and deleteServer are what an operator does by hand.
func (l *life) stopServer() {
	l.operate("stopped", http.MethodPost, "/action", map[string]any{"os-stop": nil})
}

func (l *life) deleteServer() { l.operate("deleted", http.MethodDelete, "", nil) }

// callNova makes a call as a member of the project.
func (w *world) callNova(method, path string, body any) error {
	login := map[string]any{"auth": map[string]any{
		"identity": map[string]any{"methods": []string{"password"}, "password": map[string]any{"user": map[string]any{
			"name": openStackProject, "domain": map[string]any{"name": "Default"}, "password": openStackPassword,
		}}},
		"scope": map[string]any{"project": map[string]any{"name": openStackProject, "domain": map[string]any{"name": "Default"}}},
	}}
	answer, err := w.callOpenStack(http.MethodPost, "/identity/v3/auth/tokens", "", login)
	if err != nil {
		return err
	}
	_, err = w.callOpenStack(method, "/compute/v2.1"+path, answer.Get("X-Subject-Token"), body)
	return err
}

func (w *world) callOpenStack(method, path, token string, body any) (http.Header, error) {
	encoded, err := json.Marshal(body)
	if err != nil {
		return nil, err
	}
	client := http.Client{Timeout: time.Minute, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return w.network.Dial(ctx, "tcp", openStackAddress)
		},
	}}
	request, err := http.NewRequest(method, "http://"+openStackAddress+path, bytes.NewReader(encoded))
	if err != nil {
		return nil, err
	}
	request.Header.Set("X-Auth-Token", token)
	request.Header.Set("Content-Type", "application/json")
	response, err := client.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	if response.StatusCode >= 300 {
		answer, _ := io.ReadAll(response.Body)
		return nil, errors.New(response.Status + ": " + string(answer))
	}
	return response.Header, nil
}
