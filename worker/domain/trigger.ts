/** What a trigger is made of: the shapes that are stored, apart from the requests that set them. */

/** A value that a delivery may put into the template: where in the payload it is and what it must be like. */
export interface TriggerParameter {
  /** RFC 6901. */
  pointer: string;
  type: 'string' | 'integer' | 'boolean';
  /** Strings: a linear regular expression for the whole value. Required for them. */
  pattern: string;
  /** Strings: the most characters. Integers: the largest value. */
  maximum: number;
  /** Stands for a value that is absent; null: then the delivery is refused. */
  fallback: string | null;
}
export type TriggerParameters = Record<string, TriggerParameter>;

/** One condition: on a header or on a place of the payload, exactly one of the tests. */
export interface TriggerCondition {
  /** Lower case. */
  header?: string;
  pointer?: string;
  equals?: string | number | boolean;
  in?: (string | number | boolean)[];
  /** The array there has this value. */
  contains?: string | number | boolean;
  pattern?: string;
}

/** All conditions of an action must hold; an action without conditions is never taken, but `launch` alone always. */
export interface TriggerRules {
  launch: TriggerCondition[];
  delete: TriggerCondition[];
}

/** The body of the creation, with `{{name}}` where parameters go. */
export interface TriggerTemplate {
  name: string;
  description: string;
  alias: string;
  fingerprint: string;
  profiles: string[] | null;
  config: Record<string, string>;
  devices: Record<string, Record<string, string>>;
  ephemeral: boolean;
  target: string;
}

/** Null: no limit. */
export interface TriggerLimits {
  /** Instances of the trigger that exist at a time. */
  concurrency: number | null;
  perHour: number | null;
  /** Life of an instance. */
  ttlSeconds: number | null;
}
