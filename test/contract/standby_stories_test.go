package contract

import "github.com/aws/aws-sdk-go-v2/service/autoscaling/types"

// Into standby and out of it.
// https://docs.aws.amazon.com/autoscaling/ec2/userguide/as-enter-exit-standby.html
// https://docs.aws.amazon.com/autoscaling/ec2/APIReference/API_EnterStandby.html
var standbyStories = []fleetStory{
	{
		name: "an instance goes on standby and comes back, and the desired capacity with it",
		tell: func(s *fleetTeller) {
			s.launchable()
			s.group("shop", sized(0, 2, 1))
			s.until("shop", types.LifecycleStateInService)
			s.enterStandby("shop", true)
			s.until("shop", types.LifecycleStateStandby)
			s.groups(10, "shop")
			s.exitStandby("shop")
			s.until("shop", types.LifecycleStateInService)
			s.groups(10, "shop")
		},
		want: []string{"launchable", "created", "[InService]", "moving ec2 instance to standby", "[Standby]", "1 pages [shop 0≤0≤2]",
			"moving ec2 instance out of standby", "[InService]", "1 pages [shop 0≤1≤2]"},
	},
	{
		name: "an instance goes on standby once, and comes back once",
		tell: func(s *fleetTeller) {
			s.launchable()
			s.group("shop", sized(0, 2, 1))
			s.until("shop", types.LifecycleStateInService)
			s.exitStandby("shop")
			s.enterStandby("shop", true)
			s.until("shop", types.LifecycleStateStandby)
			s.enterStandby("shop", true)
			s.groups(10, "shop")
		},
		want: []string{"launchable", "created", "[InService]", "! ValidationError", "moving ec2 instance to standby", "[Standby]", "! ValidationError",
			"1 pages [shop 0≤0≤2]"},
		motoIsWrong: "moto does not look at the state: it counts each call",
	},
	{
		name: "standby does not take a group below its minimum",
		tell: func(s *fleetTeller) {
			s.launchable()
			s.group("shop", sized(1, 2, 1))
			s.until("shop", types.LifecycleStateInService)
			s.enterStandby("shop", true)
			s.groups(10, "shop")
		},
		want:        []string{"launchable", "created", "[InService]", "! ValidationError", "1 pages [shop 1≤1≤2]"},
		motoIsWrong: "moto takes the desired capacity below it",
	},
}
