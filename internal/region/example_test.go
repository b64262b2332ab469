package region_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"time"

	"github.com/bootagent/bootagent/internal/model"
	"github.com/bootagent/bootagent/internal/region"
	"github.com/bootagent/bootagent/internal/region/autoscaling"
	"github.com/bootagent/bootagent/internal/region/elbv2"
	"github.com/bootagent/bootagent/internal/region/fault"
	"github.com/bootagent/bootagent/internal/region/machine"
	"github.com/bootagent/bootagent/internal/region/wire"
)

// everywhere says that every instance's ports are on this machine.
type everywhere struct{}

func (everywhere) Address(string) (string, bool) { return "127.0.0.1", true }

// A whole region: the services are made and plugged in one by one, and closed
// from the machines down to the endpoint.
func Example() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	r, err := region.New(ctx, region.Options{}) // Parameter Store and STS are in it
	if err != nil {
		log.Fatal(err)
	}
	launcher := machine.NewLauncher(func(_ context.Context, i autoscaling.Instance) (machine.Command, error) {
		return machine.Command{Argv: []string{"sleep", "600"}, Env: os.Environ()}, nil
	})
	balancers := elbv2.New(elbv2.Options{Instances: everywhere{}, Propagation: elbv2.ALB().Scale(0.05)})
	groups := autoscaling.New(autoscaling.Options{Launcher: launcher, Traffic: balancers})
	r.Handle(elbv2.SigningName, elbv2.Namespace, balancers)
	r.Handle(autoscaling.Name, autoscaling.Namespace, groups)

	// The second registration from now on is carried out, but its answer gets lost.
	r.Faults.Add(fault.Rule{Operation: "RegisterTargets", Skip: 1, Count: 1, Effect: fault.CutAfter()})

	err = groups.CreateGroup(autoscaling.GroupConfig{Name: "shop", Max: 1, Desired: 1,
		Hooks: []autoscaling.Hook{{Name: "boot", Transition: autoscaling.Launching, Heartbeat: 30 * time.Second}}})
	if err != nil {
		log.Fatal(err)
	}
	for ctx.Err() == nil {
		if all := groups.Instances("shop"); len(all) == 1 && all[0].Lifecycle == model.LifecyclePendingWait {
			fmt.Println("one instance waits in its hook")
			break
		}
		time.Sleep(time.Millisecond)
	}
	fmt.Println(len(r.Calls(wire.Filter{Failed: true})), "calls have failed")
	for _, err := range []error{groups.Close(ctx), launcher.Close(ctx), balancers.Close(ctx), r.Close()} {
		if err != nil {
			log.Fatal(err)
		}
	}
	// Output:
	// one instance waits in its hook
	// 0 calls have failed
}
