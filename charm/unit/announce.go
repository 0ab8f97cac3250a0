package unit

import (
	"context"
	"io"
	"net"
	"sync"
	"time"

	"github-runner/charm/unitdir"
)

// AgentSocket is where the resident agent answers, in the unit's folder.
const AgentSocket = "agent.sock"

// YieldPath is what a process asks the agent for that wants the unit: the agent
// gives way while the connection is open, and looks at the world anew when it is
// closed. The kernel closes it for one that dies.
const YieldPath = "/yield"

const (
	// announceDeadline bounds what an agent that hangs can cost a hook.
	announceDeadline = time.Second
	// announcePause is the time between two attempts to reach an agent.
	announcePause = 200 * time.Millisecond
)

// announce asks the agent to give way until done is called: the one that is there,
// and one that begins to run meanwhile, as both do when a machine has started.
func announce(ctx context.Context, dir *unitdir.Dir) (done func()) {
	ctx, cancel := context.WithCancel(ctx)
	conn := ask(ctx, dir) // before the lock is waited for
	var asking sync.WaitGroup
	asking.Go(func() {
		for {
			if conn != nil {
				hangOn(ctx, conn)
			}
			select {
			case <-time.After(announcePause):
				conn = ask(ctx, dir)
			case <-ctx.Done():
				return
			}
		}
	})
	return func() {
		cancel()
		asking.Wait()
	}
}

// ask connects to the agent and sends the request; nil where no agent takes it. Its
// answer is of no interest: the lock tells when the agent has given way.
func ask(ctx context.Context, dir *unitdir.Dir) net.Conn {
	dialing, cancel := context.WithTimeout(ctx, announceDeadline)
	defer cancel()
	conn, err := dir.Dial(dialing, AgentSocket)
	if err != nil {
		return nil
	}
	err = conn.SetDeadline(time.Now().Add(announceDeadline))
	if err == nil {
		_, err = io.WriteString(conn, "POST "+YieldPath+" HTTP/1.1\r\nHost: agent\r\nContent-Length: 0\r\n\r\n")
	}
	if err == nil {
		err = conn.SetDeadline(time.Time{})
	}
	if err != nil {
		conn.Close()
		return nil
	}
	return conn
}

// hangOn returns once ctx ends or the agent has hung up, and closes the connection.
func hangOn(ctx context.Context, conn net.Conn) {
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	defer conn.Close()
	_, _ = io.Copy(io.Discard, conn)
}
